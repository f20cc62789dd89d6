"""Forgetting counts against a loop over examples and presentations."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spfde_exp.sieve.forgetting import ForgettingCounter

EXAMPLES = 6
# an epoch: (example, correct) pairs, each example once at most; None ends an interval
EPOCH = st.dictionaries(st.integers(0, EXAMPLES - 1), st.booleans(), min_size=1)
History = list[dict[int, bool] | None]
HISTORY = st.lists(st.none() | EPOCH, max_size=14)


def play(counter: ForgettingCounter, history: History) -> None:
    for epoch in history:
        if epoch is None:
            counter.reset()
        else:
            counter.observe(torch.tensor(list(epoch)), torch.tensor(list(epoch.values())))


def forgotten(answers: list[bool]) -> int:
    return sum(a and not b for a, b in pairwise(answers))


@settings(max_examples=150, deadline=None)
@given(HISTORY)
def test_against_a_loop_over_examples(history: History) -> None:
    counter = ForgettingCounter(EXAMPLES)
    play(counter, history)
    borders = [place for place, epoch in enumerate(history) if epoch is None]
    interval = history[borders[-1] + 1 :] if borders else history
    total = unforgettable = 0
    for example in range(EXAMPLES):
        now = [epoch[example] for epoch in interval if epoch is not None and example in epoch]
        ever = [epoch[example] for epoch in history if epoch is not None and example in epoch]
        assert counter.difficulty("zero")[example] == forgotten(now)
        assert counter.difficulty("hardest")[example] == (forgotten(now) if any(now) else 32767)
        total += forgotten(ever)
        unforgettable += any(ever) and forgotten(ever) == 0
    assert counter.forgetting_events == total
    assert counter.unforgettable == unforgettable


def test_an_event_by_hand() -> None:
    counter = ForgettingCounter(4)
    right = {0: [1, 0, 1, 0], 1: [0, 0, 0, 0], 2: [1, 1, 1, 1], 3: [0, 1, 1, 0]}
    play(counter, [{example: bool(row[epoch]) for example, row in right.items()} for epoch in range(4)])
    assert counter.difficulty("zero").tolist() == [2, 0, 0, 1]
    assert counter.difficulty("hardest").tolist() == [2, 32767, 0, 1]
    assert (counter.forgetting_events, counter.unforgettable) == (3, 1)


def test_a_fall_across_the_border_counts_for_the_run_only() -> None:
    counter = ForgettingCounter(1)
    play(counter, [{0: True}, None, {0: False}, {0: True}])
    assert counter.difficulty("zero").tolist() == [0]
    assert counter.forgetting_events == 1


def test_ranking_does_not_change_the_counts() -> None:
    counter = ForgettingCounter(2)
    play(counter, [{0: True}])
    counter.difficulty("hardest")
    assert counter.difficulty("zero").tolist() == [0, 0]


@settings(max_examples=30, deadline=None)
@given(HISTORY, HISTORY)
def test_a_saved_counter_goes_on(before: History, after: History) -> None:
    whole, first, second = (ForgettingCounter(EXAMPLES) for _ in range(3))
    play(whole, before + after)
    play(first, before)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    play(second, after)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
