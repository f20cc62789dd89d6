"""DSR by hand: one threshold for all layers that adapts, and growth where most survived."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

#                 two of eight are below 0.1, both in "a"; six survive, two in "a" and four in "b"
WEIGHTS = {"a": [0.05, -0.2, 0.3, -0.01, 0, 0, 0, 0], "b": [0.5, -0.6, 0.7, 0.8, 0, 0, 0, 0]}
KEPT = {"a": [1, 1, 1, 1, 0, 0, 0, 0], "b": [1, 1, 1, 1, 0, 0, 0, 0]}
OFTEN = {"every_steps": 1, "threshold": 0.1}


def update(one: Any, layers: str = "ab") -> None:
    one.step({layer: [0.0] * len(one.values(layer)) for layer in layers}, count=1)


def test_layers_grow_in_proportion_to_their_survivors(bench: Any) -> None:
    """Two go; shares 2/3 and 4/3 of two, so that the larger remainder, 2/3 in "a", takes the second one."""
    one = bench("dsr", WEIGHTS, KEPT, drop=0.25, **OFTEN)
    update(one)
    assert (sum(one.mask("a")), sum(one.mask("b"))) == (3, 5)
    assert one.mask("a")[:4] == [0, 1, 1, 0]  # just-pruned positions do not grow
    assert one.mask("b")[:4] == [1, 1, 1, 1]
    assert one.values("a") == pytest.approx([0, -0.2, 0.3, 0, 0, 0, 0, 0])
    assert one.values("b") == pytest.approx([0.5, -0.6, 0.7, 0.8, 0, 0, 0, 0])


def test_growth_is_uniform(over_seeds: Callable[..., torch.Tensor]) -> None:
    total = over_seeds(lambda one: update(one, "a"), "dsr", {"a": WEIGHTS["a"]}, {"a": KEPT["a"]}, drop=0.5, **OFTEN)
    assert total[:4].tolist() == [0, 400, 400, 0]
    assert (total[4:] - 200).abs().max() < 40  # two of four places; four standard deviations


@pytest.mark.parametrize(
    ("small", "wanted", "threshold"),
    [
        (2, 0.2, 0.1),  # 2 of 10 went, as wanted
        (3, 0.2, 0.05),  # more than 2.2
        (1, 0.2, 0.2),  # fewer than 1.8
        (0, 0.2, 0.2),
    ],
)
def test_the_threshold_halves_or_doubles(bench: Any, small: int, wanted: float, threshold: float) -> None:
    one = bench("dsr", {"a": [0.01] * small + [1.0] * (10 - small) + [0.0] * 10}, {"a": [1] * 10 + [0] * 10},
                drop=wanted, **OFTEN)  # fmt: skip
    update(one, "a")
    assert one.method.metrics() == {"dsr_threshold": pytest.approx(threshold)}
    assert sum(one.mask("a")) == 10


@pytest.mark.parametrize("small", [9, 11])
def test_a_tenth_more_or_less_is_as_wanted(bench: Any, small: int) -> None:
    one = bench("dsr", {"a": [0.01] * small + [1.0] * (100 - small) + [0.0] * 20}, {"a": [1] * 100 + [0] * 20},
                drop=0.1, **OFTEN)  # fmt: skip
    update(one, "a")
    assert one.method.metrics() == {"dsr_threshold": 0.1}


def test_the_threshold_of_one_update_is_used_in_the_next(bench: Any) -> None:
    one = bench("dsr", {"a": [1.0, 0.15, 0.3, 0.4, 0, 0, 0, 0]}, {"a": KEPT["a"]}, drop=0.25, **OFTEN)
    update(one, "a")  # nothing is below 0.1
    assert one.mask("a") == KEPT["a"]
    update(one, "a")  # 0.15 is below 0.2
    assert one.mask("a")[:4] == [1, 0, 1, 1] and sum(one.mask("a")) == 4


def test_a_layer_keeps_its_largest_weight(bench: Any) -> None:
    one = bench("dsr", {"a": [0.01, -0.03, 0.02, 0], "b": [1.0, 2.0, 0, 0]}, {"a": [1, 1, 1, 0], "b": [1, 1, 0, 0]},
                **OFTEN)  # fmt: skip
    update(one)
    assert one.values("a") == pytest.approx([0, -0.03, 0, 0])
    assert sum(one.mask("a")) + sum(one.mask("b")) == 5


def test_without_room_elsewhere_pruned_positions_come_back_at_zero(bench: Any) -> None:
    one = bench("dsr", {"a": [0.01, 1.0, 2.0, 3.0]}, **OFTEN)
    update(one, "a")
    assert one.mask("a") == [1, 1, 1, 1]
    assert one.values("a") == [0, 1, 2, 3]


def test_frozen_layers_keep_theirs(bench: Any) -> None:
    one = bench("dsr", WEIGHTS, KEPT, **OFTEN)
    update(one, "a")
    assert one.mask("b") == KEPT["b"]
    assert sum(one.mask("a")) == 4


def test_a_layer_that_is_full_leaves_its_share_to_the_others(bench: Any) -> None:
    """Four go in "a"; "b" has twice the survivors, and room for one."""
    one = bench("dsr", {"a": [1.0, 2.0, 0.01, 0.01, 0.01, 0.01, 0, 0, 0, 0], "b": [1.0, 2.0, 3.0, 4.0, 0.0]},
                {"a": [1] * 6 + [0] * 4, "b": [1, 1, 1, 1, 0]}, **OFTEN)  # fmt: skip
    update(one)
    assert one.mask("b") == [1, 1, 1, 1, 1]
    assert sum(one.mask("a")) == 5


@given(
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=5),
    density=st.floats(0.05, 1),
    threshold=st.floats(0.01, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=30)
def test_the_total_never_changes(sizes: list[int], density: float, threshold: float, seed: int, bench: Any) -> None:
    draw = torch.Generator().manual_seed(seed)
    weights = {str(n): torch.randn(size, generator=draw).tolist() for n, size in enumerate(sizes)}
    kept = {
        str(n): [1, *(torch.rand(size - 1, generator=draw) < density).int().tolist()] for n, size in enumerate(sizes)
    }
    one = bench("dsr", weights, kept, every_steps=1, threshold=threshold, seed=seed)
    for count in range(1, 5):
        one.step(
            {layer: torch.randn(len(values), generator=draw).tolist() for layer, values in weights.items()}, count=count
        )
        assert sum(sum(one.mask(layer)) for layer in weights) == sum(map(sum, kept.values()))
        assert all(sum(one.mask(layer)) >= 1 for layer in weights)
