"""Which hooks count as readers of numbers."""

import functools

import pytest
import torch.nn.modules.module as of_all
from torch import Tensor, nn

from spfde_exp.hooked import reads_numbers, reads_shapes_only

KINDS = "forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"


@pytest.mark.parametrize("kind", KINDS)
def test_any_hook_may_read_numbers_unless_it_says_that_it_does_not(kind: str) -> None:
    layer = nn.Linear(2, 2)
    register = getattr(layer, f"register_{kind}")
    assert not reads_numbers(layer)
    register(reads_shapes_only(lambda *_: None))
    assert not reads_numbers(layer)
    handle = register(lambda *_: None)
    assert reads_numbers(layer)
    handle.remove()
    assert not reads_numbers(layer)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_of_all_modules_is_one_of_each(kind: str) -> None:
    handle = getattr(of_all, f"register_module_{kind}")(lambda *_: None)
    try:
        assert reads_numbers(nn.Linear(2, 2))
    finally:
        handle.remove()
    assert not reads_numbers(nn.Linear(2, 2))


def test_who_wraps_a_hook_that_reads_none_may_read_them() -> None:
    @reads_shapes_only
    def count(_: nn.Module, __: object, ___: Tensor) -> None: ...

    layer = nn.Linear(2, 2)
    layer.register_forward_hook(functools.wraps(count)(lambda *_: None))
    assert reads_numbers(layer)
