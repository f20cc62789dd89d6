"""What dropping and growing methods share: when they act, whom they choose, how units are shared out."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp.sparse.methods.base import Step
from spfde_exp.sparse.methods.rewiring import apportion, at_random, largest


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def at(epoch: int, index: int = 0, steps: int = 10, count: int | None = None) -> Step:
    return Step(epoch, index, steps, epoch * steps + index if count is None else count, 0.1, 0.0)


# -- whom


@pytest.mark.parametrize(
    ("score", "among", "count", "expected"),
    [
        ([5.0, 4.0, 3.0, 2.0], [1, 0, 1, 1], 2, [1, 0, 1, 0]),
        ([1.0, 1.0, 1.0, 1.0], [0, 1, 1, 1], 2, [0, 1, 1, 0]),
        ([5.0, 4.0, 3.0, 2.0], [0, 0, 1, 0], 3, [0, 0, 1, 0]),
        ([5.0, 4.0], [1, 1], 0, [0, 0]),
    ],
)
def test_largest_by_hand(score: list[float], among: list[int], count: int, expected: list[int]) -> None:
    assert largest(torch.tensor(score), torch.tensor(among).bool(), count).int().tolist() == expected


def test_largest_knows_positions_whatever_the_memory_format() -> None:
    score = torch.arange(24.0).view(2, 3, 2, 2).to(memory_format=torch.channels_last)
    found = largest(score, torch.ones_like(score).bool(), 3)
    assert found.nonzero().tolist() == [[1, 2, 0, 1], [1, 2, 1, 0], [1, 2, 1, 1]]


@given(among=st.lists(st.booleans(), min_size=1, max_size=60), count=st.integers(0, 70), seed=st.integers(0, 99))
def test_random_positions_are_exact_and_allowed(among: list[bool], count: int, seed: int) -> None:
    allowed = torch.tensor(among)
    chosen = at_random(allowed, count, seeded(seed))
    assert int(chosen.sum()) == min(count, int(allowed.sum()))
    assert not (chosen & ~allowed).any()
    assert torch.equal(chosen, at_random(allowed, count, seeded(seed)))


@pytest.mark.parametrize("count", [2, 7])  # few are drawn one by one, many from a shuffled list
def test_every_position_is_as_likely_as_another(count: int) -> None:
    allowed = torch.tensor([True, False, True, True, True, False, True, True, True, True])
    total = torch.zeros(10)
    for seed in range(4000):
        total += at_random(allowed, count, seeded(seed))
    expected = 4000 * count / 8
    assert total[~allowed].tolist() == [0, 0]
    assert (total[allowed] - expected).abs().max() < 4.5 * math.sqrt(expected * (1 - count / 8))


# -- shares


@pytest.mark.parametrize(
    ("total", "shares", "room", "expected"),
    [
        (10, [1.0, 1.0], [9, 9], [5, 5]),
        (10, [3.0, 1.0], [9, 9], [8, 2]),  # 7.5, 2.5: the first takes the odd one
        (7, [1.0, 1.0, 1.0], [9, 9, 9], [3, 2, 2]),
        (9, [4.0, 1.0, 1.0], [3, 9, 9], [3, 3, 3]),  # 6, 1.5, 1.5: three do not fit, and go to the others
        (5, [1.0, 0.0], [3, 9], [3, 2]),  # those without a share take what is left
        (4, [0.0, 0.0], [9, 9], [2, 2]),
        (4, [math.nan, 1.0], [9, 9], [2, 2]),
        (4, [math.inf, 1.0], [9, 9], [2, 2]),
        (20, [1.0, 2.0], [3, 4], [3, 4]),
        (0, [1.0], [3], [0]),
        (3, [], [], []),
    ],
)
def test_apportion_by_hand(total: int, shares: list[float], room: list[int], expected: list[int]) -> None:
    assert apportion(total, shares, room) == expected


@given(data=st.data(), layers=st.integers(1, 8), total=st.integers(0, 500))
def test_apportion_is_exact_to_the_unit(data: st.DataObject, layers: int, total: int) -> None:
    shares = data.draw(st.lists(st.floats(0, 1e6), min_size=layers, max_size=layers))
    room = data.draw(st.lists(st.integers(0, 200), min_size=layers, max_size=layers))
    given_ = apportion(total, shares, room)
    assert sum(given_) == min(total, sum(room))
    assert all(0 <= count <= free for count, free in zip(given_, room, strict=True))


@given(shares=st.lists(st.integers(1, 1000), min_size=1, max_size=8), total=st.integers(0, 500))
def test_apportion_with_room_is_the_proportion_rounded(shares: list[int], total: int) -> None:
    for count, share in zip(apportion(total, shares, [total] * len(shares)), shares, strict=True):
        assert abs(count - total * share / sum(shares)) < 1


# -- when


def test_epochs_between_two_updates(bench: Any) -> None:
    method = bench("set", {"a": [1.0]}, epochs=10, every_epochs=3, until=0.8).method
    assert [epoch for epoch in range(10) if method.due_at_epoch(epoch)] == [3, 6]
    method = bench("set", {"a": [1.0]}, epochs=10, every_epochs=1, until=1.0).method
    assert [epoch for epoch in range(10) if method.due_at_epoch(epoch)] == list(range(1, 10))


def test_steps_between_two_updates(bench: Any) -> None:
    """100 epochs of 10 steps: 40 is less than the twentieth, 50, that bounds it; the end is epoch 75."""
    method = bench("rigl", {"a": [1.0]}, epochs=100, every_steps=40).method
    due = [10 * e + i for e in range(100) for i in range(10) if method.due_at_step(at(e, i))]
    assert due == list(range(40, 750, 40))


def test_short_runs_have_twenty_updates_all_the_same(bench: Any) -> None:
    method = bench("rigl", {"a": [1.0]}, epochs=100, every_steps=4000, until=1.0).method
    due = [10 * e + i for e in range(100) for i in range(10) if method.due_at_step(at(e, i))]
    assert due == list(range(50, 1000, 50))
    method = bench("rigl", {"a": [1.0]}, epochs=2, every_steps=4000, until=1.0).method
    assert [method.due_at_step(at(0, i, steps=3)) for i in range(3)] == [False, True, True]


def test_dsr_waits_longer_in_each_phase(bench: Any) -> None:
    """The authors' 100, 200, 400, 800 iterations from epochs 0, 25, 80 and 140 of 200, to 190."""
    method = bench("dsr", {"a": [1.0]}, epochs=200).method
    due = [400 * e + i for e in range(200) for i in range(400) if method.due_at_step(at(e, i, steps=400))]
    edges = [25 * 400, 80 * 400, 140 * 400, 190 * 400]
    expected = [*range(100, edges[0], 100), *range(edges[0], edges[1], 200)]
    expected += [*range(edges[1], edges[2], 400), *range(edges[2], edges[3], 800)]
    assert due == expected


def test_values_of_the_phases(bench: Any) -> None:
    method = bench("deepr", {"a": [1.0]}, epochs=200).method
    found = {epoch: method.in_phase(method.config.temperature, epoch) for epoch in (0, 24, 25, 79, 80, 139, 140, 199)}
    assert list(found.values()) == [1e-5, 1e-5, 1e-8, 1e-8, 1e-12, 1e-12, 1e-15, 1e-15]
    assert method.in_phase(0.25, 199) == 0.25


# -- how many


def test_cosine_of_the_share_to_drop(bench: Any) -> None:
    """RigL: 0.3 at first, half of it half-way to the end at 75 %, none there."""
    method = bench("rigl", {"a": [1.0]}, epochs=100).method
    share = [method.fraction(epoch) for epoch in (0, 25, 37.5, 50, 75, 90)]
    assert share == pytest.approx([0.3, 0.225, 0.15, 0.075, 0, 0])


@pytest.mark.parametrize("name", ["snfs", "rigl_itop"])
def test_cosine_of_sparse_momentum_and_itop_ends_at_a_two_hundredth(bench: Any, name: str) -> None:
    method = bench(name, {"a": [1.0]}, epochs=100).method
    assert [method.fraction(epoch) for epoch in (0, 50, 100)] == pytest.approx([0.5, 0.2525, 0.005])
    small = bench(name, {"a": [1.0]}, epochs=100, drop=0.001).method
    assert small.fraction(50) == pytest.approx(0.001)


def test_constant_share_to_drop(bench: Any) -> None:
    method = bench("set", {"a": [1.0]}, epochs=100).method
    assert method.fraction(0) == method.fraction(99) == 0.3
