"""Circular sieving against a queue of plain Python lists, written from SpFDE section 4.3 and appendix C.2."""

import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spfde_exp.sieve.sieve import Sieve

Answers = dict[int, list[bool]]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


class Reference:
    """The removed set as a list, head first. Ratios are whole percentages.

    Which draws decide is part of the contract: ``randperm(examples)`` for the initial removal; at an update
    one double of ``rand`` for each kept example in ascending order, then, once the queue is shuffled,
    ``randperm(len(queue))``.
    """

    def __init__(self, examples: int, percent: int, update_percent: int, seed: int, never: str) -> None:
        order = torch.randperm(examples, generator=seeded(seed)).tolist()
        removed = half_up(examples * percent, 100)
        self.queue, self.kept = order[:removed], sorted(order[removed:])
        self.exchange = half_up(removed * update_percent, 100)
        if removed and update_percent:  # every removed example comes back, however few are exchanged
            self.exchange = max(1, self.exchange)
        self.waiting = set(self.queue)  # initially removed, not back yet
        self.never = never
        self.shuffles = 0

    def rank(self, answers: list[bool]) -> float:
        if not any(answers):
            return float("inf") if self.never == "hardest" else 0
        return sum(a and not b for a, b in pairwise(answers))

    def update(self, answers: Answers, seed: int) -> None:
        generator = seeded(seed)
        if not self.exchange:
            return
        ties = torch.rand(len(self.kept), generator=generator, dtype=torch.float64).tolist()
        ranks = [self.rank(answers[example]) for example in self.kept]
        ranked = sorted(zip(ranks, ties, self.kept, strict=True))
        evicted = [example for _, _, example in ranked[: self.exchange]]
        for example in evicted:
            self.kept.remove(example)
            self.queue.append(example)
        for _ in range(self.exchange):
            back = self.queue.pop(0)
            self.kept.append(back)
            self.waiting.discard(back)
        self.kept.sort()
        if not self.waiting:
            self.shuffles += 1
            places = torch.randperm(len(self.queue), generator=generator).tolist()
            self.queue = [self.queue[place] for place in places]


@settings(max_examples=25, deadline=None)
@given(
    examples=st.integers(10, 60),
    percent=st.integers(0, 50),
    update_percent=st.integers(0, 100),
    seed=st.integers(0, 1000),
    skill=st.floats(0, 1),
    never=st.sampled_from(["hardest", "zero"]),
)
def test_against_the_reference(
    examples: int, percent: int, update_percent: int, seed: int, skill: float, never: str
) -> None:
    reference = Reference(examples, percent, update_percent, seed, never)
    sieve = Sieve(examples, percent / 100, seeded(seed), update_ratio=update_percent / 100, never_learned=never)
    removed, first_queue = len(reference.queue), set(reference.queue)
    luck, back = random.Random(seed), set()
    for update in range(32):
        assert sieve.kept.tolist() == reference.kept
        assert sieve.queue.tolist() == reference.queue
        assert len(reference.queue) == removed
        assert sorted(reference.kept + reference.queue) == list(range(examples))
        answers: Answers = {example: [] for example in reference.kept}
        for _ in range(luck.randint(1, 5)):
            order = reference.kept[:]
            luck.shuffle(order)
            right = {example: luck.random() < skill for example in order}
            for start in range(0, len(order), 7):
                batch = order[start : start + 7]
                sieve.observe(torch.tensor(batch), torch.tensor([right[example] for example in batch]))
            for example in order:
                answers[example].append(right[example])
        sieve.update(seeded(1000 + update))
        reference.update(answers, 1000 + update)
        back |= first_queue & set(sieve.kept.tolist())
    if reference.exchange:
        updates = -(-removed // reference.exchange)
        assert reference.shuffles == max(0, 33 - updates)
        if updates <= 32:
            assert back == first_queue


def test_cifar_sizes() -> None:
    """20 % of 50,000, 30 % of it at each update: 3,000; the fourth update wraps and shuffles first."""
    sieve = Sieve(50_000, 0.2, seeded(0))
    assert (len(sieve.kept), len(sieve.queue), sieve.exchange) == (40_000, 10_000, 3_000)
    initial = sieve.queue.tolist()
    evicted: list[int] = []
    for update in range(1, 4):
        before = set(sieve.kept.tolist())
        sieve.update(seeded(update))
        gone = before - set(sieve.kept.tolist())
        assert len(gone) == 3_000
        assert set(sieve.kept.tolist()) - before == set(initial[3_000 * (update - 1) : 3_000 * update])
        assert set(sieve.queue[-3_000:].tolist()) == gone
        evicted += sieve.queue[-3_000:].tolist()
        # not shuffled: what is left of the initial removal, then what was evicted, in order
        assert sieve.queue.tolist() == initial[3_000 * update :] + evicted
    before = set(sieve.kept.tolist())
    sieve.update(seeded(4))
    assert set(sieve.kept.tolist()) - before == set(initial[9_000:] + evicted[:2_000])
    assert sieve.queue[:7_000].tolist() != evicted[2_000:]  # shuffled now
    assert set(evicted[2_000:]) < set(sieve.queue.tolist())
    assert (len(sieve.kept), len(sieve.queue)) == (40_000, 10_000)


def test_the_easiest_go_first() -> None:
    # kept 0 ... 7 in some order of difficulty; 2 of 10 are removed, both are exchanged
    sieve = Sieve(10, 0.2, seeded(0), update_ratio=1.0)
    kept = sieve.kept.tolist()
    events = [3, 0, 2, 0, 1, 3, 2, 1]  # of kept[0], kept[1], ...
    for presentation in range(8):
        right = [presentation % 2 == 0 or presentation // 2 >= n for n in events]
        sieve.observe(torch.tensor(kept), torch.tensor(right))
    sieve.update(seeded(1))
    assert sorted(sieve.queue.tolist()) == sorted([kept[1], kept[3]])


@pytest.mark.parametrize(("never", "evicted"), [("hardest", {1, 2, 3}), ("zero", {0, 1, 2, 3})])
def test_an_example_that_was_never_right(never: str, evicted: set[int]) -> None:
    gone: set[int] = set()
    for seed in range(60):  # ties are drawn: over many draws every tied example goes at some time
        sieve = Sieve(5, 0.2, seeded(seed), update_ratio=1.0, never_learned=never)
        places = dict(enumerate(sieve.kept.tolist()))
        sieve.observe(sieve.kept, torch.tensor([False, True, True, True]))
        sieve.update(seeded(seed))
        gone |= {place for place, example in places.items() if example in sieve.queue.tolist()}
    assert gone == evicted


def test_an_interval_starts_anew() -> None:
    sieve = Sieve(10, 0.1, seeded(0), update_ratio=1.0, never_learned="zero")
    hard = int(sieve.kept[0])
    for right in (True, False, True):
        sieve.observe(torch.tensor([hard]), torch.tensor([right]))
    sieve.update(seeded(0))
    assert hard in sieve.kept and not sieve.counter.events.any() and not sieve.counter.right.any()


@pytest.mark.parametrize("percent", [70, 77, 80, 90])
def test_sizes_stay_when_more_is_removed_than_kept(percent: int) -> None:
    sieve = Sieve(100, percent / 100, seeded(0))
    for update in range(5):
        sieve.update(seeded(update))
        assert (len(sieve.kept), len(sieve.queue)) == (100 - percent, percent)
        assert sorted(sieve.kept.tolist() + sieve.queue.tolist()) == list(range(100))


def test_the_initial_removal_is_uniform() -> None:
    hits = torch.zeros(10)
    for seed in range(2000):
        hits[Sieve(10, 0.3, seeded(seed)).queue] += 1
    # 9 degrees of freedom, counts tied to their sum: 33.7 is exceeded once in 10,000
    assert float(((hits - 600) ** 2 / (600 * 0.7)).sum() * 0.9) < 33.7


def test_a_saved_sieve_goes_on() -> None:
    whole, other = Sieve(40, 0.25, seeded(0)), Sieve(40, 0.25, seeded(9))
    luck = seeded(3)

    def interval(sieves: list[Sieve], number: int) -> None:
        right = torch.rand(40, generator=luck) < 0.5
        for sieve in sieves:
            sieve.observe(sieve.kept, right[sieve.kept])
            if number % 2:
                sieve.update(seeded(number))

    for number in range(5):
        interval([whole], number)
    state = whole.state_dict()
    other.load_state_dict(
        {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items() if k != "counter"}
        | {"counter": {k: v.clone() for k, v in state["counter"].items()}}
    )
    for number in range(5, 16):
        interval([whole, other], number)
    assert torch.equal(whole.kept, other.kept) and torch.equal(whole.queue, other.queue)
