"""Memory that comes back: to one tensor at a time, the last first; what nobody asks for is let go."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spfde_exp.cost.live import LiveBytes
from spfde_exp.engine import pool
from spfde_exp.engine.layout import to_layout
from spfde_exp.engine.pool import IDLE, LEAST, MOST, Pool, take
from spfde_exp.engine.structure import Structure
from spfde_exp.engine.unit import Norm, conv_norm

SIZES = [1000, 1001]
TYPES = [torch.float32, torch.float64]


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Pool:
    """In place of the one of the process."""
    monkeypatch.setattr(pool, "_POOL", Pool())
    return pool._POOL


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


def test_what_nobody_asks_for_is_let_go() -> None:
    some = Pool()
    tensors = [some.take(1000, torch.float32) for _ in range(5)]
    del tensors
    for _ in range(2 * IDLE):
        some.take(1001, torch.float32)
    assert list(map(len, some.free.values())) == [0, 1]


class Slow(list[Any]):
    """Lets other threads go on after each look at it, and before each change."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        time.sleep(1e-4)
        return found

    def pop(self, *place: Any) -> Any:
        time.sleep(1e-4)
        return super().pop(*place)


def test_threads_do_not_get_the_same_memory() -> None:
    some, alive = Pool(), set[int]()
    some.free[1000, torch.float32] = Slow()

    def work(_: int) -> bool:
        for _ in range(500):
            tensor = some.take(1000, torch.float32)
            place = tensor.data_ptr()
            if place in alive:
                return False
            alive.add(place)
            time.sleep(1e-4)
            alive.remove(place)
            del tensor
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(4)))
    assert 1 < free(some) <= 4


@pytest.mark.parametrize(("size", "pooled"), [(LEAST // 4 - 1, 0), (LEAST // 4, 1), (MOST // 4, 1), (MOST // 4 + 1, 0)])
def test_the_small_and_the_large_are_left_to_pytorch(size: int, pooled: int, mine: Pool) -> None:
    tensor = take(size, torch.float32)
    assert tensor.shape == (size,)
    assert tensor.data_ptr() % 64 == 0
    assert mine.taken == pooled


def step() -> None:
    """One unit, forward and back."""
    weight = torch.ones(8, 8, 3, 3).requires_grad_()
    norm = Norm(torch.ones(8), torch.zeros(8), torch.zeros(8), torch.ones(8))
    x = to_layout(torch.randn(32, 8, 16, 16), 1).requires_grad_()
    (y,) = conv_norm(x, weight, Structure(torch.ones(8, 8, 3, 3, dtype=torch.bool)), norm, training=True, relu=True)
    y.sum().backward()


def test_steps_make_no_more_memory_than_the_first(mine: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    new = pool._new

    def counted(size: int, dtype: type) -> np.ndarray:
        made.append(size)
        return new(size, dtype)

    monkeypatch.setattr(pool, "_new", counted)
    step()
    first = len(made)
    assert first > 0
    for _ in range(3):
        step()
    assert len(made) == first
    assert free(mine) == first


def test_live_bytes_are_the_same_with_new_memory_and_with_old(mine: Pool) -> None:
    peaks = []
    for _ in range(2):
        with LiveBytes() as live:
            step()
        peaks.append(live.peak)
    assert peaks[0] == peaks[1] > 4 * 32 * 8 * 16 * 16


def test_release(mine: Pool) -> None:
    kept, dropped = take(LEAST, torch.float32), take(LEAST, torch.float32)
    del dropped
    assert free(mine) == 1
    pool.release()
    assert free(mine) == 0
    del kept
    assert free(mine) == 1
