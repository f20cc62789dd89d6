"""Methods that rank the weights of all layers together: how many stay, and what is told where a layer loses all."""

import logging
import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from spfde_exp.config import compose
from spfde_exp.errors import UserError
from spfde_exp.plan import make_plan

WEIGHTS = {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0, 4.0, 5.0]}


def test_as_many_stay_as_the_layers_parts_make_together(bench: Any) -> None:
    """Half of three and half of five, each rounded up: five of eight, wherever they are."""
    one = bench("snip", WEIGHTS)
    masks = one.method.best_masks({"a": torch.tensor([0.5, 9.0, 0.1]), "b": torch.tensor([8.0, 0.2, 7.0, 0.6, 0.7])})
    assert {layer: mask.int().tolist() for layer, mask in masks.items()} == {"a": [0, 1, 0], "b": [1, 0, 1, 1, 1]}


def test_an_emptied_layer_is_told(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    one = bench("synflow", WEIGHTS)
    with caplog.at_level(logging.WARNING):
        masks = one.method.best_masks({"a": torch.zeros(3), "b": torch.ones(5)})
    assert masks["b"].all() and not masks["a"].any()
    assert caplog.messages == ["synflow leaves no weight in 1 layers: a"]


@given(a=st.lists(st.floats(0, 1), min_size=3, max_size=3), b=st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_the_count_is_exact_with_ties_too(a: list[float], b: list[float], bench: Any) -> None:
    scores = {"a": torch.tensor(a).round(), "b": torch.tensor(b).round()}
    assume(scores["a"].min() < scores["b"].max() or scores["b"].min() < scores["a"].max())
    masks = bench("grasp", WEIGHTS).method.best_masks(scores)
    assert sum(int(mask.sum()) for mask in masks.values()) == 5


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([0.0, 0.0, 0.0], [0.0] * 5, "method=snip gives every weight the same score, 0, by which nothing"),
        ([0.5, 0.5, 0.5], [0.5] * 5, "the same score, 0.5, "),
        ([0.0, math.nan, 1.0], [0.0] * 5, "method=snip gives scores that are not finite"),
        ([0.0, 2.0, 1.0], [0.0, math.inf, 1.0, 2.0, 3.0], "that are not finite"),
    ],
)
def test_scores_that_rank_nothing_are_refused(a: list[float], b: list[float], message: str, bench: Any) -> None:
    with pytest.raises(UserError, match=message) as error:
        bench("snip", WEIGHTS).method.best_masks({"a": torch.tensor(a), "b": torch.tensor(b)})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["snip", "synflow", "grasp", "lth"])
def test_a_sparsity_that_leaves_nothing_is_refused_before_training(method: str) -> None:
    with pytest.raises(UserError, match=r"^sparsity=0\.99999 leaves none of the \d+ prunable weights; choose a lower"):
        make_plan(compose([f"method={method}", "sparsity=0.99999", "freeze=none"]))
