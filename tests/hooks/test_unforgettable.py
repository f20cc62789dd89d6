"""Counts of MEST's appendix F.1, epoch by epoch, against the histories of single examples."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spfde_exp.hooks.unforgettable import Unforgettable
from spfde_exp.sieve.forgetting import ForgettingCounter

EPOCHS = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=8)


def test_by_hand() -> None:
    counter = ForgettingCounter(4)
    watch = Unforgettable(counter)
    right = {0: [1, 1, 1, 1], 1: [1, 0, 1, 0], 2: [0, 1, 1, 0], 3: [0, 0, 0, 0]}
    told = []
    for epoch in range(4):
        counter.observe(torch.arange(4), torch.tensor([bool(right[example][epoch]) for example in range(4)]))
        told.append(watch.take())
    names = ("unforgettable", "newly_learned", "newly_forgotten", "forgetting_events")
    assert [tuple(row[name] for name in names) for row in told] == [
        (2, 2, 0, 0),
        (2, 1, 1, 1),
        (2, 0, 0, 0),
        (1, 0, 1, 2),
    ]


@settings(max_examples=100, deadline=None)
@given(EPOCHS, st.integers(0, 8))
def test_against_histories(epochs: list[list[bool]], joined: int) -> None:
    """Whenever the watch begins, as after a restart, it tells the same of the epochs that follow."""
    counter = ForgettingCounter(6)
    watch = Unforgettable(counter)
    for number, answers in enumerate(epochs):
        if number == joined:
            watch = Unforgettable(counter)
        counter.observe(torch.arange(6), torch.tensor(answers))
        told = watch.take()
        histories = [[row[example] for row in epochs[: number + 1]] for example in range(6)]
        falls = [[a and not b for a, b in pairwise(history)] for history in histories]
        assert told == {
            "unforgettable": sum(any(h) and not any(f) for h, f in zip(histories, falls, strict=True)),
            "newly_learned": sum(h[-1] and not any(h[:-1]) for h in histories),
            "newly_forgotten": sum(any(f[-1:]) and not any(f[:-1]) for f in falls),
            "forgetting_events": sum(any(f[-1:]) for f in falls),
        }
