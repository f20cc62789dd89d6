"""Memory that comes back: to one tensor at a time, the last first, and to the system if nobody asks for it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spfde_exp.engine import pool
from spfde_exp.engine.conv import sparse_conv2d
from spfde_exp.engine.layout import to_layout
from spfde_exp.engine.pool import IDLE, LEAST, MOST, Pool, take
from spfde_exp.engine.structure import Structure

SIZES = [1000, 1001]
TYPES = [torch.float32, torch.float64]


def free(some: Pool) -> int:
    return sum(map(len, some.free.values()))


@given(st.lists(st.tuples(st.sampled_from(SIZES), st.sampled_from(TYPES), st.integers(0, 5)), max_size=60))
def test_tensors_alive_never_share_memory(steps: list[tuple[int, torch.dtype, int]]) -> None:
    some, alive, most = Pool(), dict[int, tuple[float, Tensor]](), dict[tuple[int, torch.dtype], int]()
    for number, (size, dtype, place) in enumerate(steps):
        alive.pop(place, None)  # a tensor is dropped, and another one made
        made = some.take(size, dtype)
        assert made.shape == (size,)
        assert made.dtype == dtype
        alive[place] = float(number), made.fill_(number)
        del made
        assert all((tensor == value).all() for value, tensor in alive.values())
        together = sum(tensor.shape == (size,) and tensor.dtype == dtype for _, tensor in alive.values())
        most[size, dtype] = max(most.get((size, dtype), 0), together)
    assert free(some) + len(alive) == sum(most.values())  # no more than were alive at once


def test_the_last_that_came_back_goes_first() -> None:
    some = Pool()
    tensors = [some.take(1000, torch.float32) for _ in range(3)]
    places = [tensor.data_ptr() for tensor in tensors]
    del tensors[1], tensors[0]
    again = [some.take(1000, torch.float32) for _ in range(2)]
    assert [tensor.data_ptr() for tensor in [*again, *tensors]] == places


def test_a_view_keeps_memory_from_coming_back() -> None:
    some = Pool()
    view = some.take(1000, torch.float32).view(10, 100)[3:4]
    array = view.numpy()
    del view
    assert free(some) == 0
    del array
    assert free(some) == 1


def test_what_nobody_asks_for_goes_back_to_the_system() -> None:
    some = Pool()
    del [some.take(1000, torch.float32) for _ in range(5)][:]
    for _ in range(2 * IDLE):
        some.take(1001, torch.float32)
    assert list(map(len, some.free.values())) == [0, 1]


def test_threads_do_not_get_the_same_memory() -> None:
    some = Pool()

    def work(number: int) -> bool:
        good = True
        for turn in range(2000):
            one, other = some.take(1000, torch.float32).fill_(number), some.take(1000, torch.float32).fill_(turn)
            good = good and bool((one == number).all() and (other == turn).all())
        return good

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(4)))
    assert free(some) <= 4 * 4  # a thread has two while it makes the next two


@pytest.mark.parametrize(("size", "pooled"), [(LEAST // 4 - 1, 0), (LEAST // 4, 1), (MOST // 4, 1), (MOST // 4 + 1, 0)])
def test_the_small_and_the_large_are_left_to_pytorch(size: int, pooled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Pool()
    monkeypatch.setattr(pool, "_POOL", mine)
    tensor = take(size, torch.float32)
    assert tensor.shape == (size,)
    assert tensor.data_ptr() % 64 == 0
    assert mine.taken == pooled


def test_training_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Pool()
    monkeypatch.setattr(pool, "_POOL", mine)
    weight = torch.randn(8, 8, 3, 3).requires_grad_()
    structure = Structure(torch.ones(8, 8, 3, 3, dtype=torch.bool))
    kept = []
    for _ in range(4):
        x = to_layout(torch.randn(32, 8, 16, 16), 1).requires_grad_()
        sparse_conv2d(x, weight, structure, 1).sum().backward()
        del x
        kept.append(free(mine))
    assert kept[0] > 0
    assert kept[1] == kept[-1]
