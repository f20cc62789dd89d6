"""Periodic freezing (SpFDE appendix B) by hand on four equal blocks, and against counting cells."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spfde_exp.errors import UserError
from spfde_exp.freeze.periodic import periodic
from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.freeze.solver import FreezeProblem

# Four blocks of a fifth of the FLOPs each, 16 epochs: a block frozen for one epoch saves 2/3 x 0.2 / 16 = 1/120.
TOY = FreezeProblem("toy", ("a", "b", "c", "d"), (0.2,) * 4, 16, 2)


def test_the_cycle() -> None:
    """Group 1 (a, b) trains in one epoch of four, group 2 (c) in one of two: 2 x 12 + 8 block-epochs saved."""
    plan = periodic(TOY, 32 / 120, 1.0)
    assert plan.frozen == (0, 3, 2, 3) * 4
    assert plan.reduction() == pytest.approx(32 / 120)
    assert [plan.active_epochs(block) for block in range(4)] == [4, 4, 8, 16]
    assert not plan.own_clock


def test_the_nearest_pair_of_sizes() -> None:
    """12 a + 8 b block-epochs: (1, 1) saves 20, (1, 2) 28, (2, 1) 32, (1, 3) 36, (2, 2) 40, (3, 1) 44."""
    sizes = {target: periodic(TOY, target / 120, 1.0).frozen[1:3] for target in (19, 23, 25, 29, 31, 41, 43, 45)}
    depths = {(1, 1): (2, 1), (1, 2): (3, 1), (2, 1): (3, 2), (2, 2): (4, 2), (3, 1): (4, 3)}
    assert sizes == {
        19: depths[1, 1], 23: depths[1, 1], 25: depths[1, 2], 29: depths[1, 2], 31: depths[2, 1], 41: depths[2, 2],
        43: depths[3, 1], 45: depths[3, 1],
    }  # fmt: skip


def test_of_equally_near_pairs_the_more_equal_one() -> None:
    assert periodic(TOY, 34 / 120, 1.0).frozen[1:3] == (3, 2)  # (2, 1) saves 32, (1, 3) saves 36


def test_delayed_periodic_needs_larger_groups_for_the_same_target() -> None:
    """In the 12 epochs from 4 on, (3, 1) saves 3 x 9 + 6 = 33 block-epochs; (2, 1) would save 24."""
    plan = periodic(TOY, 32 / 120, 1.0, delay=4)
    assert plan.frozen == (0, 0, 0, 0) + (0, 4, 3, 4) * 3
    assert plan.reduction() == pytest.approx(33 / 120)


def test_the_cycle_does_not_begin_anew_with_the_delay() -> None:
    assert periodic(TOY, 0.2, 1.0, delay=6).frozen[:10] == (0, 0, 0, 0, 0, 0, 1, 4, 0, 4)


def test_the_share_of_blocks_that_may_freeze() -> None:
    assert max(periodic(TOY, 0.27, 0.75).frozen) == 3
    with pytest.raises(UserError, match=r"needs two blocks, and may freeze 1 of 4"):
        periodic(TOY, 0.2, 0.25)


def test_the_target_at_the_trained_density() -> None:
    """Odd epochs weigh twice, of 24 in all: (2, 1) saves 2 x (4 + 16) + 16 block-epochs, so weighted."""
    problem = FreezeProblem("toy", TOY.blocks, TOY.shares, 16, 2, (0.1, 0.2) * 8)
    plan = periodic(problem, 0.31, 1.0)
    assert plan.frozen[1:3] == (3, 2)
    assert plan.reduction(problem.density) == pytest.approx(2 / 3 * 0.2 * (2 * (4 + 16) + 16) / 24)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (0.1, r"freeze=0\.1 is out of reach with periodic freezing of 4 of 4 blocks .* smallest reachable is 16\.67 %"),
        (0.5, r"freeze=0\.5 is out of reach .* largest reachable is 36\.67 % \(freeze=0\.3666\); lower freeze"),
    ],
)
def test_out_of_reach(target: float, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        periodic(TOY, target, 1.0)
    assert "\n" not in str(error.value)


def test_a_point_beyond_the_ends_is_met_as_well_as_blocks_allow() -> None:
    assert periodic(TOY, 20 / 120 - 0.009, 1.0).reduction() == pytest.approx(20 / 120)
    assert periodic(TOY, 44 / 120 + 0.009, 1.0).reduction() == pytest.approx(44 / 120)


def cells(plan: FreezePlan) -> list[list[bool]]:
    return [[plan.is_frozen(block, epoch) for epoch in range(plan.epochs)] for block in range(len(plan.blocks))]


@settings(max_examples=100)
@given(st.data())
def test_sizes_by_brute_force(data: Any) -> None:
    blocks, epochs = data.draw(st.integers(2, 7)), data.draw(st.integers(8, 40))
    weights = data.draw(st.lists(st.floats(0.1, 1), min_size=blocks + 1, max_size=blocks + 1))
    shares = tuple(w / sum(weights) for w in weights[:-1])
    density = data.draw(st.none() | st.lists(st.floats(0.05, 1), min_size=epochs, max_size=epochs).map(tuple))
    target, delay = data.draw(st.floats(0.01, 0.5)), data.draw(st.integers(0, 6))
    problem = FreezeProblem("mine", tuple(map(str, range(blocks))), shares, epochs, 1, density)
    weight = density or (1.0,) * epochs

    def saved(first: int, second: int) -> float:
        total = 0.0
        for epoch in range(delay, epochs):
            depth = {0: 0, 1: first + second, 2: first, 3: first + second}[epoch % 4]
            total += 2 * sum(shares[:depth]) * weight[epoch]
        return total / (3 * sum(weight))

    every = {(a, b): saved(a, b) for a in range(1, blocks + 1) for b in range(1, blocks + 1) if a + b <= blocks}
    if not min(every.values()) - 0.01 <= target <= max(every.values()) + 0.01:
        with pytest.raises(UserError, match="out of reach"):
            periodic(problem, target, 1.0, delay)
        return
    plan = periodic(problem, target, 1.0, delay)
    nearest = min(abs(value - target) for value in every.values())
    assert abs(plan.reduction(density) - target) == pytest.approx(nearest, abs=1e-9)
    # a group that trains more often trains whenever a rarer one does, and everything trains at the start
    trained = [{epoch for epoch, rests in enumerate(row) if not rests} for row in cells(plan)]
    assert all(earlier <= later for earlier, later in pairwise(trained))
    assert all(set(range(max(1, delay))) <= row for row in trained)
