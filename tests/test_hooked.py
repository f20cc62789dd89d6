"""Which hooks count as readers of numbers."""

import pytest
from torch import nn

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
