"""SET by hand: signs apart, as many grown as dropped, at random and at zero."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

#            dropped: the two smallest of each sign, although 3.0 is smaller than every negative
WEIGHTS = {"a": [1.0, 4.0, 2.0, 3.0, -5.0, -9.0, -7.0, -6.0, 0.0, 0.0, 0.0, 0.0]}
KEPT = {"a": [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]}
SURVIVE = [1, 3, 5, 6]


def update(one: Any) -> None:
    one.method.start_epoch(1, ["a"])


def test_the_smallest_positive_and_the_largest_negative_go(bench: Any) -> None:
    one = bench("set", WEIGHTS, KEPT, drop=0.5)
    update(one)
    assert sum(one.mask()) == 8
    assert all(one.mask()[place] for place in SURVIVE)
    expected = [WEIGHTS["a"][place] if place in SURVIVE else 0.0 for place in range(12)]
    assert one.values() == expected  # whatever grew, also where a weight went, is zero


def test_shares_of_each_sign_are_rounded_down(bench: Any) -> None:
    """30 % of five positive weights is one, of three negative ones none."""
    one = bench("set", {"a": [0.1, 0.5, 0.3, 0.7, 0.2, -0.1, -0.2, -0.3, 0]}, {"a": [1, 1, 1, 1, 1, 1, 1, 1, 0]})
    update(one)
    assert one.values() == pytest.approx([0, 0.5, 0.3, 0.7, 0.2, -0.1, -0.2, -0.3, 0])


def test_all_other_positions_are_as_likely_to_grow(over_seeds: Callable[..., torch.Tensor]) -> None:
    total = over_seeds(update, "set", WEIGHTS, KEPT, drop=0.5)
    assert total[SURVIVE].tolist() == [400] * 4
    others = torch.tensor([place for place in range(12) if place not in SURVIVE])
    assert (total[others] - 200).abs().max() < 40  # four of eight places; 40 is four standard deviations


def test_a_full_layer_stays(bench: Any) -> None:
    one = bench("set", {"a": [1.0, 2.0, 3.0, 4.0]}, drop=0.5)
    update(one)
    assert one.mask() == [1, 1, 1, 1] and one.values() == [1, 2, 3, 4]


def test_in_a_nearly_full_layer_what_went_starts_again_at_zero_with_zero_momentum(bench: Any) -> None:
    one = bench("set", {"a": [1.0, 2.0, 3.0, 4.0, 0.0]}, {"a": [1, 1, 1, 1, 0]}, drop=0.5, momentum=0.9)
    one.step({"a": [1.0, 1.0, 1.0, 1.0, 1.0]})
    update(one)
    assert sum(one.mask()) == 4 and one.mask()[2:4] == [1, 1]
    assert one.values() == pytest.approx([0, 0, 2.9, 3.9, 0])
    assert one.momentum().tolist() == [0, 0, 1, 1, 0]


def test_layers_that_are_frozen_stay(bench: Any) -> None:
    one = bench("set", {"a": WEIGHTS["a"], "b": WEIGHTS["a"]}, {"a": KEPT["a"], "b": KEPT["a"]})
    one.method.start_epoch(1, ["b"])
    assert one.values("a") == WEIGHTS["a"] and one.mask("a") == KEPT["a"]
    assert one.values("b") != WEIGHTS["a"]


def test_nothing_happens_before_training(bench: Any) -> None:
    one = bench("set", WEIGHTS, KEPT)
    one.method.start_epoch(0, ["a"])
    assert one.mask() == KEPT["a"]
