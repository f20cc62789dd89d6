"""Sparse momentum by hand: smoothed dense gradients say where weights grow, in which layer and where in it."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

WEIGHTS = {"a": [4.0, 3.0, -2.0, 1.0, 0, 0, 0, 0], "b": [-0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0]}
KEPT = {"a": [1, 1, 1, 1, 0, 0, 0, 0], "b": [1, 1, 1, 1, 0, 0, 0, 0]}
#           mean of the kept: 3 and 1, so that "a" takes three of the four that go
MOMENTUM = {"a": [3.0, 3.0, -3.0, 3.0, 1.0, -2.0, 0, 5.0], "b": [1.0, -1.0, 1.0, 1.0, 0.5, 0, -0.7, 0]}
HALF = {"drop": 0.5, "decay": "constant"}


def with_momentum(bench: Any, weights: Any, kept: Any, momentum: Any, **options: Any) -> Any:
    one = bench("snfs", weights, kept, **HALF, **options)
    one.method.load_state_dict({layer: torch.tensor(values) for layer, values in momentum.items()})
    return one


def test_half_goes_and_grows_where_momentum_is(bench: Any) -> None:
    """Two go in each layer: by momentum, "a" grows 5, 3 and 3 (one of the dropped, the lower index first), "b" 1."""
    one = with_momentum(bench, WEIGHTS, KEPT, MOMENTUM)
    one.method.start_epoch(1, ["a", "b"])
    assert one.mask("a") == [1, 1, 1, 1, 0, 0, 0, 1]
    assert one.mask("b") == [1, 1, 1, 0, 0, 0, 0, 0]
    assert one.values("a") == [4, 3, -2, 1, 0, 0, 0, 0]  # dropped and grown at once: as it was
    assert one.values("b") == pytest.approx([-0.4, 0.3, 0.2, 0, 0, 0, 0, 0])


def test_means_are_those_of_the_kept_before_any_goes(bench: Any) -> None:
    """Means 4 and 1 before, 1 and 1 of those that stay: three and one of four grow."""
    momentum = {"a": [1.0, 1.0, 7.0, 7.0, 9.0, 9.0, 9.0, 9.0], "b": [1.0, 1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0]}
    one = with_momentum(bench, WEIGHTS, KEPT, momentum)
    one.method.start_epoch(1, ["a", "b"])
    assert one.mask("a") == [1, 1, 0, 0, 1, 1, 1, 0]
    assert one.mask("b") == [1, 1, 0, 0, 1, 0, 0, 0]


def test_gradients_are_smoothed_dense(bench: Any) -> None:
    one = bench("snfs", {"a": WEIGHTS["a"]}, {"a": KEPT["a"]}, momentum=0.9)
    one.method.draw(None, None)
    for _ in range(2):
        one.step({"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]})
    expected = [0.19 * g for g in range(1, 9)]  # 0.1 g, then 0.9 of that and 0.1 g
    assert one.method.state_dict()["a"].tolist() == pytest.approx(expected)
    assert one.momentum()[one.masks.kept["a"]].count_nonzero() == 4
    assert not one.momentum()[~one.masks.kept["a"]].any()


def test_a_full_layer_leaves_growth_to_others(bench: Any) -> None:
    """By momentum all four would grow in "b", where two go and one place is empty: it takes 99 % of three."""
    weights = {"a": WEIGHTS["a"], "b": [1.0, 2.0, 3.0, 4.0, 0]}
    momentum = {"a": [0.0] * 8, "b": [1.0] * 5}
    one = with_momentum(bench, weights, {"a": KEPT["a"], "b": [1, 1, 1, 1, 0]}, momentum)
    one.method.start_epoch(1, ["a", "b"])
    assert (sum(one.mask("a")), sum(one.mask("b"))) == (4, 4)


def test_a_nearly_dense_layer_that_grows_drops_no_more_than_it_has_empty(bench: Any) -> None:
    """A tenth of "a" is empty; above the mean it drops a tenth of nine, which is none, below the mean half."""
    weights = {"a": [float(n) for n in range(1, 10)] + [0.0], "b": WEIGHTS["a"]}
    kept = {"a": [1] * 9 + [0], "b": KEPT["a"]}
    growing = with_momentum(bench, weights, kept, {"a": [2.0] * 10, "b": [1.0] * 8})
    growing.method.start_epoch(1, ["a", "b"])
    assert growing.mask("a") == [1] * 9 + [0]
    assert growing.mask("b") == [1, 1, 1, 1, 0, 0, 0, 0]
    calm = with_momentum(bench, weights, kept, {"a": [0.5] * 10, "b": [1.0] * 8})
    calm.method.start_epoch(1, ["a", "b"])  # four and two go, two and four grow
    assert calm.mask("a") == [1, 1, 0, 0, 1, 1, 1, 1, 1, 0]
    assert calm.mask("b") == [1, 1, 1, 1, 1, 1, 0, 0]


def test_frozen_layers_keep_theirs(bench: Any) -> None:
    one = with_momentum(bench, WEIGHTS, KEPT, MOMENTUM)
    one.method.start_epoch(1, ["b"])
    assert one.mask("a") == KEPT["a"]
    assert one.mask("b") == [1, 1, 1, 1, 0, 0, 0, 0]  # 0.2 and 0.1 by momentum 1, before 0.7 and 0.5


@given(
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=5),
    density=st.floats(0.05, 1),
    drop=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
@settings(max_examples=30)
def test_the_total_never_changes(sizes: list[int], density: float, drop: float, seed: int, bench: Any) -> None:
    draw = torch.Generator().manual_seed(seed)
    weights = {str(n): torch.randn(size, generator=draw).tolist() for n, size in enumerate(sizes)}
    kept = {
        str(n): [1, *(torch.rand(size - 1, generator=draw) < density).int().tolist()] for n, size in enumerate(sizes)
    }
    one = bench("snfs", weights, kept, drop=drop, seed=seed, epochs=5)
    one.method.load_state_dict({layer: torch.randn(len(w), generator=draw) for layer, w in weights.items()})
    for epoch in range(1, 5):
        one.method.start_epoch(epoch, list(weights))
        assert sum(sum(one.mask(layer)) for layer in weights) == sum(map(sum, kept.values()))
        assert all(sum(one.mask(layer)) >= 1 for layer in weights)
