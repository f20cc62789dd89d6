"""Freeze plans: what they save, cell by cell, and where each block's cosine stands."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp.freeze.plan import FreezePlan

BLOCKS, SHARES = ("a", "b", "c"), (0.2, 0.3, 0.4)  # the classifier has 0.1
PLAN = FreezePlan.sequential(10, BLOCKS, SHARES, [4, 7])


def test_sequential() -> None:
    assert PLAN.frozen == (0, 0, 0, 0, 1, 1, 1, 2, 2, 2)
    assert list(PLAN.newly_frozen(4)) == [0] and list(PLAN.newly_frozen(7)) == [1]
    assert not any(len(PLAN.newly_frozen(epoch)) for epoch in (0, 3, 5, 8))
    assert [PLAN.is_frozen(1, epoch) for epoch in (6, 7, 9)] == [False, True, True]


def test_frozen_from_the_start_is_newly_frozen_at_epoch_0() -> None:
    assert list(FreezePlan((2, 2), BLOCKS, SHARES).newly_frozen(0)) == [0, 1]


def test_reduction_is_two_thirds_of_what_rests() -> None:
    # block a rests 6 of 10 epochs, b 3: 2/3 (0.2 x 6 + 0.3 x 3) / 10
    assert PLAN.reduction() == pytest.approx(2 / 3 * 0.21)
    assert FreezePlan.none(10, BLOCKS, SHARES).reduction() == 0


def test_reduction_at_the_trained_density() -> None:
    density = [1.0] * 4 + [0.5] * 6
    # b and a weigh half while they rest, of 7 epochs' worth
    assert PLAN.reduction(density) == pytest.approx(2 / 3 * (0.2 * 3 + 0.3 * 1.5) / 7)


def test_progress_runs_over_the_active_epochs() -> None:
    assert [PLAN.active_epochs(block) for block in range(3)] == [4, 7, 10]
    assert [PLAN.progress(0, epoch) for epoch in range(4)] == [0, 0.25, 0.5, 0.75]
    assert PLAN.progress(1, 6) == pytest.approx(6 / 7) and PLAN.progress(2, 9) == 0.9


def test_progress_stands_still_while_a_block_rests() -> None:
    periodic = FreezePlan((0, 1, 1, 0, 1, 1, 0, 1), BLOCKS, SHARES)
    assert [periodic.progress(0, epoch) for epoch in range(8)] == pytest.approx(
        [0, 1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 1]
    )


def test_progress_by_the_global_epoch() -> None:
    plan = FreezePlan((0, 1, 1, 0), BLOCKS, SHARES, own_clock=False)
    assert [plan.progress(block, epoch) for block in (0, 2, 3) for epoch in range(4)] == [0, 0.25, 0.5, 0.75] * 3


def test_a_scaled_learning_rate_makes_up_for_fewer_epochs() -> None:
    assert [PLAN.rate(block) for block in range(4)] == [1.0] * 4
    scaled = replace(PLAN, scaled=True)
    assert [scaled.rate(block) * scaled.active_epochs(block) for block in range(4)] == pytest.approx([10] * 4)


def test_from_an_epoch_on() -> None:
    assert PLAN.from_epoch(8, 0).frozen == (0, 0, 0, 0, 1, 1, 1, 2, 0, 0)
    assert PLAN.from_epoch(9, 3).frozen == (0, 0, 0, 0, 1, 1, 1, 2, 2, 3)


@pytest.mark.parametrize(
    ("frozen", "words"),
    [
        ((0, 0, 0), "nothing"),
        ((0, 1, 2), "2/3 blocks from 1"),
        ((0, 1, 2, 0, 0), "2/3 blocks from 1 to 3"),
        ((0, 3, 1, 3, 0, 3), "1+2 of 3 blocks in turns from 1"),
    ],
)
def test_in_a_few_words(frozen: tuple[int, ...], words: str) -> None:
    assert FreezePlan(frozen, BLOCKS, SHARES).summary() == words


def test_what_training_decides_is_not_told_before() -> None:
    assert FreezePlan((0, 0), BLOCKS, SHARES, known=False).summary() == "decided in training"


def test_ranges() -> None:
    assert PLAN.ranges() == [
        {"block": "a", "frozen": [[4, 10]]},
        {"block": "b", "frozen": [[7, 10]]},
        {"block": "c", "frozen": []},
    ]
    assert FreezePlan((1, 0, 2, 2), BLOCKS, SHARES).ranges()[0]["frozen"] == [[0, 1], [2, 4]]


@given(st.data())
def test_reduction_counts_every_cell_of_block_and_epoch(data: st.DataObject) -> None:
    epochs, blocks = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 6))
    shares = data.draw(st.lists(st.floats(0.01, 1), min_size=blocks, max_size=blocks))
    frozen = data.draw(st.lists(st.integers(0, blocks), min_size=epochs, max_size=epochs))
    density = data.draw(st.lists(st.floats(0.01, 1), min_size=epochs, max_size=epochs))
    plan = FreezePlan(tuple(frozen), tuple(map(str, range(blocks))), tuple(shares))
    saved = spent = 0.0
    for epoch in range(epochs):
        for block in range(blocks):
            if plan.is_frozen(block, epoch):
                saved += 2 * shares[block] * density[epoch]
        spent += 3 * density[epoch]
    assert plan.reduction(density) == pytest.approx(saved / spent)
    for block, row in enumerate(plan.ranges()):
        rests = {epoch for first, last in row["frozen"] for epoch in range(first, last)}
        assert rests == {epoch for epoch in range(epochs) if plan.is_frozen(block, epoch)}
        assert plan.active_epochs(block) == epochs - len(rests)
