"""The solver against Table A4's arithmetic by hand, and against brute force."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spfde_exp.errors import UserError
from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.freeze.solver import FreezeProblem, fraction_of_blocks, single_shot


def resnet32_shares() -> list[float]:
    """MACs of the 15 blocks of ResNet-32 (width 2) on 32x32 images, by hand."""
    plain = 2 * 32 * 32 * 9 * 32 * 32  # two 3x3 convolutions of 32 channels at 32x32; the same in each stage
    stem = 3 * 32 * 9 * 32 * 32
    # stride 2: 32 -> 64 channels at 16x16 (64 -> 128 at 8x8 costs the same), and the 1x1 shortcut
    entry = (32 * 64 * 9 + 64 * 64 * 9 + 32 * 64) * 16 * 16
    macs = [stem + plain, *[plain] * 4, entry, *[plain] * 4, entry, *[plain] * 4]
    assert sum(macs) == 275_611_648
    return [m / (sum(macs) + 128 * 100) for m in macs]


EMS_90 = [0.15] * 90 + [0.125] * 30 + [0.1] * 40  # density trained by EM&S at 90 %


def resnet32(trained: bool = False, epochs: int = 160, model: str = "resnet32") -> FreezeProblem:
    names = [str(index) for index in range(15)]
    return FreezeProblem(model, names, resnet32_shares(), epochs, 5, EMS_90 if trained else None)


def by_hand(first: int, blocks: int, density: list[float]) -> float:
    """Share saved by freezing `blocks` blocks from `first`, one every 5 epochs."""
    shares = resnet32_shares()
    saved = sum(shares[k] * sum(density[first + 5 * k :]) for k in range(blocks))
    return 2 / 3 * saved / sum(density)


# -- Table A4


@pytest.mark.parametrize(
    ("target", "first", "blocks", "percent"),
    [(0.10, 80, 5, 10.09), (0.15, 70, 8, 16.26), (0.20, 60, 9, 20.20), (0.25, 60, 13, 25.31)],
)
@pytest.mark.parametrize("given_first", [True, False])
def test_table_a4(target: float, first: int, blocks: int, percent: float, given_first: bool) -> None:
    flat = [1.0] * 160
    assert 100 * by_hand(first, blocks, flat) == pytest.approx(percent, abs=0.005)
    assert by_hand(first, blocks - 1, flat) < target  # one block fewer is not enough
    plan = single_shot(resnet32(), target, first if given_first else None, 1.0)
    assert plan.frozen[-1] == blocks
    starts = [plan.frozen.index(k + 1) for k in range(blocks)]
    assert starts[:-1] == [first + 5 * k for k in range(blocks - 1)]
    assert starts[-1] >= first + 5 * (blocks - 1)
    assert abs(plan.reduction() - target) <= 2 / 3 * resnet32_shares()[blocks - 1] / 160 / 2


@pytest.mark.parametrize(("target", "first", "blocks"), [(0.10, 80, 7), (0.15, 70, 9), (0.20, 60, 12)])
def test_table_a4_at_the_trained_density(target: float, first: int, blocks: int) -> None:
    assert by_hand(first, blocks - 1, EMS_90) < target <= by_hand(first, blocks, EMS_90)
    plan = single_shot(resnet32(trained=True), target, first, 1.0)
    assert plan.frozen[-1] == blocks
    assert plan.reduction(EMS_90) == pytest.approx(target, abs=0.0005)


def test_out_of_reach_names_the_largest() -> None:
    assert 100 * by_hand(60, 15, [1.0] * 160) == pytest.approx(27.16, abs=0.005)
    with pytest.raises(UserError, match=r"freeze=0\.3 is out of reach .*t_freeze=60.* 27\.16 %"):
        single_shot(resnet32(), 0.3, 60, 1.0)
    with pytest.raises(UserError, match=r"freeze=0\.25 is out of reach .* 23\.07 %"):
        single_shot(resnet32(trained=True), 0.25, 60, 1.0)


def test_the_largest_that_is_named_is_reachable() -> None:
    assert single_shot(resnet32(), 0.2715, 60, 1.0).frozen[-1] == 15
    assert single_shot(resnet32(trained=True), 0.2306, 60, 1.0).frozen[-1] == 15


@pytest.mark.parametrize("epochs", [80, 320])
def test_published_epochs_scale(epochs: int) -> None:
    plan = single_shot(resnet32(epochs=epochs), 0.10, None, 0.867)
    assert plan.frozen.index(1) == 80 * epochs // 160


# -- automatic first epoch


@pytest.mark.parametrize("target", [0.275, 0.30, 0.325, 0.35])
def test_targets_of_table_a8_are_reachable(target: float) -> None:
    plan = single_shot(resnet32(), target, None, 0.867)
    step = 2 / 3 * max(resnet32_shares()) / 160
    assert abs(plan.reduction() - target) <= step / 2
    assert plan.frozen[-1] <= 13
    first = plan.frozen.index(1)
    assert first % 5 == 0 and first < 60
    # the latest: one interval later 13 blocks do not suffice
    assert by_hand(first, 13, [1.0] * 160) >= target > by_hand(first + 5, 13, [1.0] * 160)


def test_resnet50_of_table_a5() -> None:
    """224x224 ResNet-50: bottlenecks of 3, 4, 6, 3; MACs of each by hand, T_frz and targets of Table A5."""
    macs: list[int] = []
    inner, before, side = 64, 64, 56
    for stage, count in enumerate((3, 4, 6, 3)):
        for index in range(count):
            stride = 2 if stage and not index else 1
            out = side // stride
            cost = before * inner * side**2 + 9 * inner**2 * out**2 + inner * 4 * inner * out**2
            cost += before * 4 * inner * out**2 if not index else 0
            macs.append(cost)
            before, side = 4 * inner, out
        inner *= 2
    macs[0] += 3 * 64 * 49 * 112**2
    total = sum(macs) + 2048 * 1000
    assert 2 * total == pytest.approx(8.2e9, rel=0.01)  # the dense inference FLOPs of Table 3
    problem = FreezeProblem("resnet50", [str(k) for k in range(16)], [m / total for m in macs], 150, 2)
    blocks = []
    for target, first in [(0.075, 90), (0.10, 80), (0.15, 60), (0.20, 50), (0.22, 50)]:
        plan = single_shot(problem, target, None, 0.867)
        assert plan.frozen.index(1) == first
        blocks.append(plan.frozen[-1])
    assert blocks == [5, 6, 7, 8, 8]


# -- brute force


@st.composite
def problems(draw: st.DrawFn) -> FreezeProblem:
    blocks = draw(st.integers(1, 8))
    weights = draw(st.lists(st.floats(0.05, 1), min_size=blocks + 1, max_size=blocks + 1))
    shares = [w / sum(weights) for w in weights[:-1]]
    epochs, every = draw(st.integers(2, 40)), draw(st.integers(1, 7))
    density = draw(st.none() | st.lists(st.floats(0.05, 1), min_size=epochs, max_size=epochs))
    return FreezeProblem("mine", [str(k) for k in range(blocks)], shares, epochs, every, density)


def saved(problem: FreezeProblem, starts: list[int]) -> float:
    """The share saved, counted cell by cell."""
    density = problem.density or [1.0] * problem.epochs
    cells = sum(problem.shares[k] * sum(density[start:]) for k, start in enumerate(starts))
    return 2 * cells / (3 * sum(density))


def enough(problem: FreezeProblem, target: float, first: int, most: int) -> list[int] | None:
    """Starts of the fewest blocks, frozen every interval from `first`, that meet `target`."""
    starts: list[int] = []
    while len(starts) < most and first + problem.every * len(starts) < problem.epochs:
        starts.append(first + problem.every * len(starts))
        if saved(problem, starts) >= target:
            return starts
    return None


def check(problem: FreezeProblem, target: float, plan: FreezePlan, starts: list[int]) -> None:
    assert plan.epochs == problem.epochs
    assert all(a <= b <= len(problem.blocks) for a, b in zip(plan.frozen, plan.frozen[1:], strict=False))
    assert plan.frozen[-1] == len(starts)
    got = [plan.frozen.index(next(f for f in plan.frozen if f > k)) for k in range(len(starts))]
    assert got[:-1] == starts[:-1] and got[-1] >= starts[-1]
    met = abs(plan.reduction(problem.density) - target)
    assert met == pytest.approx(abs(saved(problem, got) - target), abs=1e-12)
    last = range(starts[-1], problem.epochs)
    assert met <= min(abs(saved(problem, [*starts[:-1], epoch]) - target) for epoch in last) + 1e-12
    density = problem.density or [1.0] * problem.epochs
    assert met <= 2 / 3 * max(problem.shares) * max(density) / sum(density) + 1e-12


@settings(max_examples=150, deadline=None)
@given(problems(), st.floats(0.001, 0.6), st.integers(1, 39))
def test_given_first_epoch(problem: FreezeProblem, target: float, first: int) -> None:
    assume(first < problem.epochs)
    starts = enough(problem, target, first, len(problem.blocks))
    if starts is None:
        with pytest.raises(UserError, match="out of reach"):
            single_shot(problem, target, first, 1.0)
    else:
        check(problem, target, single_shot(problem, target, first, 1.0), starts)


@settings(max_examples=150, deadline=None)
@given(problems(), st.floats(0.001, 0.6), st.floats(0.1, 1))
def test_auto_is_the_latest_first_epoch_that_suffices(problem: FreezeProblem, target: float, fraction: float) -> None:
    most = max(1, int(fraction * len(problem.blocks) + 0.5))
    suffice = [
        first
        for first in range(problem.every, problem.epochs, problem.every)
        if enough(problem, target, first, most) is not None
    ]
    if not suffice:
        with pytest.raises(UserError, match="out of reach"):
            single_shot(problem, target, None, fraction)
        return
    starts = enough(problem, target, max(suffice), most)
    assert starts is not None
    check(problem, target, single_shot(problem, target, None, fraction), starts)


# -- single-shot and resume (appendix B)

# Four blocks of a fifth of the FLOPs each, 16 epochs: a block frozen for one epoch saves 2/3 x 0.2 / 16 = 1/120.
TOY = FreezeProblem("toy", ("a", "b", "c", "d"), (0.2,) * 4, 16, 2)


def test_single_shot_on_four_equal_blocks() -> None:
    """From 10, 12 and 14: 6 + 4 + 2 block-epochs."""
    plan = single_shot(TOY, 12 / 120, None, 1.0)
    assert plan.frozen == (0,) * 10 + (1, 1, 2, 2, 3, 3)


def test_resume_is_the_same_plan_earlier_and_thawed_at_the_end() -> None:
    plan = single_shot(replace(TOY, resume=2), 12 / 120, None, 1.0)
    assert plan.frozen == (0,) * 8 + (1, 1, 2, 2, 3, 3) + (0, 0)
    assert [plan.active_epochs(block) for block in range(4)] == [10, 12, 14, 16]
    # block a: 8 of its 10 epochs are over as it freezes, and as it wakes
    assert [plan.progress(0, epoch) for epoch in (8, 14, 15)] == [0.8, 0.8, 0.9]


def test_resume_takes_the_paper_s_epoch_too() -> None:
    plan = single_shot(replace(resnet32(), resume=10), 0.2, None, 0.867)
    assert plan.frozen.index(1) == 50 and set(plan.frozen[150:]) == {0}
    assert plan.reduction() == pytest.approx(single_shot(resnet32(), 0.2, None, 0.867).reduction())


@settings(max_examples=100, deadline=None)
@given(problems(), st.floats(0.001, 0.6), st.integers(1, 8))
def test_resume_saves_what_single_shot_saves(problem: FreezeProblem, target: float, resume: int) -> None:
    flat = replace(problem, density=None)
    try:
        plan = single_shot(replace(flat, resume=resume), target, None, 1.0)
    except UserError as error:
        assert "out of reach" in str(error)
        return
    plain = single_shot(flat, target, None, 1.0)
    assert plan.reduction() == pytest.approx(plain.reduction())
    assert plan.frozen == plain.frozen[resume:] + (0,) * resume
    assert not any(plan.frozen[-resume:])


def test_resume_leaves_an_epoch_before_the_first_freeze() -> None:
    with pytest.raises(UserError, match=r"t_freeze=2 less freeze\.resume_epochs=2 leaves nothing") as error:
        single_shot(replace(TOY, resume=2), 0.1, 2, 1.0)
    assert "\n" not in str(error.value)


# -- exactly so many blocks (4.2.1: "2/3 layers")


def test_a_fraction_of_the_blocks() -> None:
    """Two blocks for 12 block-epochs: from 8 and 10 it is 8 + 6, and from 8 and 12 it fits."""
    plan = fraction_of_blocks(TOY, 12 / 120, 0.5)
    assert plan.frozen == (0,) * 8 + (1,) * 4 + (2,) * 4
    assert fraction_of_blocks(replace(TOY, resume=2), 12 / 120, 0.5).frozen == (*plan.frozen[2:], 0, 0)


@pytest.mark.parametrize(
    ("target", "fraction", "blocks"), [(0.05, 0.1, 2), (0.2, 2 / 3, 10), (0.2, 0.7, 11), (0.2, 1.0, 15)]
)
def test_exactly_so_many_blocks_of_resnet32(target: float, fraction: float, blocks: int) -> None:
    """1.5 and 10.5 go up. Only the last block moves, so that many blocks may miss the target by half an interval."""
    plan = fraction_of_blocks(resnet32(), target, fraction)
    assert plan.frozen[-1] == blocks
    assert plan.reduction() == pytest.approx(target, abs=0.006)


def test_two_thirds_of_resnet32_by_hand() -> None:
    """Ten blocks suffice for 20 % from epoch 65, not from 70."""
    flat = [1.0] * 160
    assert by_hand(65, 10, flat) >= 0.2 > by_hand(70, 10, flat)
    plan = fraction_of_blocks(resnet32(), 0.2, 2 / 3)
    assert [plan.frozen.index(k + 1) for k in range(9)] == list(range(65, 110, 5))


@pytest.mark.parametrize(
    ("target", "fraction", "message"),
    [
        (0.3, 0.5, r"with exactly 2 of 4 blocks .* the largest reachable is 21\.67 % .* larger freeze.fraction"),
        (0.03, 0.5, r"the smallest reachable is 4\.17 % \(freeze=0\.0417\); raise freeze, .* smaller freeze.fraction"),
        (0.1, 0.1, r"freeze\.fraction=0\.1 of 4 blocks is none; allowed: from 0\.125 to 1"),
    ],
)
def test_fractions_that_cannot_be(target: float, fraction: float, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        fraction_of_blocks(TOY, target, fraction)
    assert "\n" not in str(error.value)


def test_more_blocks_than_there_is_room_for() -> None:
    with pytest.raises(UserError, match=r"exactly 4 of 4 blocks .* in 16 epochs have no room, one every 6"):
        fraction_of_blocks(replace(TOY, every=6), 0.1, 1.0)


@settings(max_examples=100, deadline=None)
@given(problems(), st.floats(0.001, 0.6), st.floats(0.05, 1))
def test_no_later_first_epoch_of_a_fraction_is_nearer(problem: FreezeProblem, target: float, fraction: float) -> None:
    count = int(fraction * len(problem.blocks) + 0.5)
    rows = []
    for first in range(problem.every, problem.epochs, problem.every):
        starts = [first + problem.every * k for k in range(count)]
        if count and starts[-1] < problem.epochs:
            rows.append(starts)
    enough_rows = [starts for starts in rows if saved(problem, starts) >= target]
    if not enough_rows or target < saved(problem, [*rows[-1][:-1], problem.epochs - 1]):
        with pytest.raises(UserError, match=r"out of reach|is none|no room"):
            fraction_of_blocks(problem, target, fraction)
        return
    plan = fraction_of_blocks(problem, target, fraction)
    assert plan.frozen[-1] == count
    candidates = [[*enough_rows[-1][:-1], last] for last in range(enough_rows[-1][-1], problem.epochs)]
    candidates += [starts for starts in rows if starts[0] > enough_rows[-1][0]]
    best = min(abs(saved(problem, starts) - target) for starts in candidates)
    assert abs(plan.reduction(problem.density) - target) == pytest.approx(best, abs=1e-9)
