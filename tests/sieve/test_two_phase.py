"""Removal of the easiest examples after the first phase, against a ranking of plain Python lists."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spfde_exp.errors import UserError
from spfde_exp.sieve.two_phase import TwoPhase

# example -> right or wrong in each presentation of the first phase
ANSWERS = {
    0: [0, 1, 1, 1, 1],  # learned, never forgotten
    1: [1, 0, 1, 1, 1],  # forgotten once
    2: [0, 0, 0, 0, 0],  # never learned
    3: [1, 0, 1, 0, 1],  # forgotten twice
    4: [0, 0, 0, 0, 1],  # learned late, never forgotten
    5: [1, 1, 1, 1, 0],  # forgotten once, and not learned again
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def first_phase(sieve: TwoPhase, answers: dict[int, list[int]]) -> None:
    examples = torch.tensor(list(answers))
    for right in zip(*answers.values(), strict=True):
        sieve.observe(examples, torch.tensor(right, dtype=torch.bool))


@pytest.mark.parametrize(
    ("threshold", "kept"), [(0, [1, 2, 3, 5]), (1, [2, 3]), (2, [2])], ids=["unforgettable", "once", "twice"]
)
def test_a_threshold_removes_what_was_learned_and_hardly_forgotten(threshold: int, kept: list[int]) -> None:
    sieve = TwoPhase(6, threshold=threshold)
    first_phase(sieve, ANSWERS)
    assert sieve.kept.tolist() == [0, 1, 2, 3, 4, 5]
    sieve.update(seeded(0))
    assert sieve.kept.tolist() == kept


@pytest.mark.parametrize(
    ("count", "kept"), [(2, [{1, 2, 3, 5}]), (3, [{1, 2, 3}, {2, 3, 5}]), (4, [{2, 3}]), (5, [{2}])]
)
def test_a_count_removes_the_least_forgotten_and_draws_ties(count: int, kept: list[set[int]]) -> None:
    seen = []
    for seed in range(40):
        sieve = TwoPhase(6, count=count)
        first_phase(sieve, ANSWERS)
        sieve.update(seeded(seed))
        seen.append(set(sieve.kept.tolist()))
    assert all(one in seen for one in kept) and all(one in kept for one in seen)


def test_the_draw_is_seeded() -> None:
    drawn = set()
    for seed in (3, 3, 4):
        sieve = TwoPhase(1000, count=500)  # nothing was ever trained: all tie
        sieve.update(seeded(seed))
        drawn.add(tuple(sieve.kept.tolist()))
    assert len(drawn) == 2


def test_the_threshold_of_equation_2_is_the_text_s() -> None:
    """'The examples that only be forgotten few times (e.g., 1 or 2) [...] may also be removed': MEST section 4.3."""
    few, many = [1, 0, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0]
    sieve = TwoPhase(2, threshold=2)
    first_phase(sieve, {0: few, 1: many})
    sieve.update(seeded(0))
    assert sieve.kept.tolist() == [1]


def test_what_would_leave_nothing_is_told_in_one_line() -> None:
    sieve = TwoPhase(2, threshold=0)
    sieve.observe(torch.tensor([0, 1]), torch.tensor([True, True]))
    with pytest.raises(UserError, match=r"none of 2 examples is left.*sieve\.threshold=0.*sieve\.count") as error:
        sieve.update(seeded(0))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("both", [{}, {"threshold": 0, "count": 1}])
def test_one_of_both_is_needed(both: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="either threshold or count"):
        TwoPhase(2, **both)


PRESENTATIONS = st.lists(st.lists(st.booleans(), min_size=8, max_size=8), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(PRESENTATIONS, st.integers(0, 3), st.integers(1, 7), st.integers(0, 99))
def test_against_a_ranking_of_lists(rows: list[list[bool]], threshold: int, count: int, seed: int) -> None:
    answers = {example: [int(row[example]) for row in rows] for example in range(8)}
    events = {n: sum(a > b for a, b in pairwise(right)) for n, right in answers.items()}
    hardness = {n: events[n] if any(right) else 1000 for n, right in answers.items()}
    by_count, by_threshold = TwoPhase(8, count=count), TwoPhase(8, threshold=threshold)
    for sieve in (by_count, by_threshold):
        first_phase(sieve, answers)
    by_count.update(seeded(seed))
    stay = by_count.kept.tolist()
    gone = [n for n in range(8) if n not in stay]
    assert len(gone) == count and stay == sorted(stay)
    assert max(hardness[n] for n in gone) <= min(hardness[n] for n in stay)
    expected = [n for n in range(8) if hardness[n] > threshold]
    if expected:
        by_threshold.update(seeded(seed))
        assert by_threshold.kept.tolist() == expected


@settings(max_examples=30, deadline=None)
@given(PRESENTATIONS, PRESENTATIONS, PRESENTATIONS, st.integers(0, 1))
def test_a_saved_one_goes_on(
    before: list[list[bool]], after: list[list[bool]], later: list[list[bool]], late: int
) -> None:
    whole, first, second = (TwoPhase(8, count=3) for _ in range(3))

    def play(sieve: TwoPhase, phase: list[list[bool]]) -> None:
        for row in phase:
            sieve.observe(sieve.kept, torch.tensor(row)[sieve.kept])

    play(whole, before + after)
    whole.update(seeded(7))
    play(whole, later)
    play(first, before)
    parts = [after, None, later]
    if late:  # the checkpoint comes after the removal
        play(first, after)
        first.update(seeded(7))
        parts = [later]
    state = first.state_dict()
    second.load_state_dict(
        {"kept": state["kept"].clone(), "counter": {name: value.clone() for name, value in state["counter"].items()}}
    )
    for part in parts:
        if part is None:
            second.update(seeded(7))
        else:
            play(second, part)
    assert torch.equal(whole.kept, second.kept)
    for name, value in whole.counter.state_dict().items():
        assert torch.equal(value, second.counter.state_dict()[name]), name


def test_the_run_s_totals_go_on_and_the_interval_starts_anew() -> None:
    sieve = TwoPhase(6, count=2)
    first_phase(sieve, ANSWERS)
    assert (sieve.counter.forgetting_events, sieve.counter.unforgettable) == (4, 2)
    sieve.update(seeded(0))
    assert not sieve.counter.events.any() and not sieve.counter.learned.any()
    sieve.observe(torch.tensor([3]), torch.tensor([False]))
    assert sieve.counter.forgetting_events == 5
