"""Deep rewiring by hand: signs, noise, penalty and growth of every step."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

WEIGHTS = {"a": [0.1, -0.2, 0.3, -0.4, 0, 0, 0, 0]}
KEPT = {"a": [1, 1, 1, 1, 0, 0, 0, 0]}
SIGNS = {"a": torch.tensor([1, -1, 1, -1, 1, -1, 1, -1], dtype=torch.int8)}
STILL = {"temperature": 0.0, "l1": 0.0}


def deepr(bench: Any, weights: Any = None, kept: Any = None, signs: Any = None, **options: Any) -> Any:
    one = bench("deepr", weights or WEIGHTS, kept or KEPT, **options)
    one.method.load_state_dict(signs or SIGNS)
    return one


def test_a_weight_that_changes_its_sign_goes_and_another_grows_at_zero(bench: Any) -> None:
    one = deepr(bench, lr=1.0, **STILL)
    one.step({"a": [0.2, 0, 0, -0.3, 0, 0, 0, 0]})  # 0.1 - 0.2 is negative; -0.4 + 0.3 is negative still
    assert one.mask()[:4] == [0, 1, 1, 1] and sum(one.mask()) == 4
    assert one.values() == pytest.approx([0, -0.2, 0.3, -0.1, 0, 0, 0, 0])


def test_a_grown_weight_must_follow_the_sign_of_its_position(bench: Any) -> None:
    """Position 4 is positive: a step up keeps it, a step down ends it, none leaves it at zero."""
    for gradient, value in ((-1.0, 0.1), (1.0, None), (0.0, 0.0)):
        one = deepr(bench, {"a": [0.5, -0.5, 0.5, -0.5, 0, 0, 0, 0]}, {"a": [1, 1, 1, 1, 1, 0, 0, 0]}, **STILL)
        one.step({"a": [0, 0, 0, 0, gradient, 0, 0, 0]})
        assert one.mask()[4] == (value is not None)
        assert one.values()[4] == pytest.approx(value or 0.0)


def test_growth_is_uniform_and_never_where_something_has_just_gone(over_seeds: Callable[..., torch.Tensor]) -> None:
    def step(one: Any) -> None:
        one.method.load_state_dict(SIGNS)
        one.step({"a": [9.0, -9.0, 0, 0, 0, 0, 0, 0]})

    total = over_seeds(step, "deepr", WEIGHTS, KEPT, **STILL)
    assert total[:4].tolist() == [0, 0, 400, 400]
    assert (total[4:] - 200).abs().max() < 40  # two of four places; four standard deviations


def test_where_nothing_else_is_empty_what_has_gone_starts_again_at_zero(bench: Any) -> None:
    """Two go, and one position is empty."""
    signs = {"a": torch.tensor([1, 1, 1, 1], dtype=torch.int8)}
    one = deepr(bench, {"a": [0.1, 0.2, 0.5, 0]}, {"a": [1, 1, 1, 0]}, signs, **STILL)
    one.step({"a": [9.0, 9.0, 0, 0]})
    assert sum(one.mask()) == 3 and one.mask()[2:] == [1, 1]
    assert one.values() == pytest.approx([0, 0, 0.5, 0])


def test_a_full_layer_is_trained_as_a_dense_one(bench: Any) -> None:
    one = deepr(bench, {"a": [0.1, 0.5]}, {"a": [1, 1]}, {"a": torch.tensor([1, 1], dtype=torch.int8)},
                temperature=1.0, l1=0.0)  # fmt: skip
    one.step({"a": [9.0, 0.0]})
    assert one.values() == pytest.approx([-0.8, 0.5])


def test_signs_of_kept_weights_are_their_own_and_others_are_drawn(bench: Any) -> None:
    one = bench("deepr", {"a": torch.randn(4000, generator=torch.Generator().manual_seed(1)).tolist()})
    one.method.draw(None, None)
    signs, kept, weight = one.method.state_dict()["a"], one.masks.kept["a"], one.weights["a"].detach()
    assert set(signs.tolist()) == {-1, 1} and signs.dtype == torch.int8
    assert torch.equal(signs[kept].float(), weight[kept].sign())
    assert abs(int(signs[~kept].sum())) < 4 * math.sqrt(2000)


@pytest.mark.parametrize(("lr", "temperature"), [(0.1, 1e-5), (0.5, 1e-3)])
def test_noise_has_the_variance_of_the_paper_on_kept_weights_only(bench: Any, lr: float, temperature: float) -> None:
    size = 40_000
    one = deepr(bench, {"a": [10.0] * size}, {"a": [1, 0] * (size // 2)}, {"a": torch.ones(size)},
                lr=lr, temperature=temperature, l1=0.0)  # fmt: skip
    one.step({"a": [0.0] * size})
    weight, kept = one.weights["a"].detach().double(), one.masks.kept["a"]
    noise = weight[kept] - 10
    assert not weight[~kept].any()
    assert float(noise.var()) == pytest.approx(2 * lr * temperature, rel=0.05)  # 0.7 % is one standard deviation
    assert abs(float(noise.mean())) < 5 * math.sqrt(2 * lr * temperature / (size / 2))


def test_the_temperature_falls_with_the_phases(bench: Any) -> None:
    size = 10_000
    seen = []
    for epoch in (0, 25, 80, 140):
        one = deepr(bench, {"a": [0.01] * size + [0.0]}, {"a": [1] * size + [0]}, {"a": torch.ones(size + 1)},
                    epochs=200, lr=0.5, l1=0.0)  # fmt: skip
        one.step({"a": [0.0] * (size + 1)}, epoch=epoch)
        seen.append(float((one.weights["a"].detach().double()[:size] - 0.01).square().mean()))
    assert seen == pytest.approx([1e-5, 1e-8, 1e-12, 1e-15], rel=0.06)


def test_the_penalty_pulls_towards_zero_in_place_of_weight_decay(bench: Any) -> None:
    one = deepr(bench, lr=1.0, weight_decay=0.5, temperature=0.0, l1=0.01)
    one.step({"a": [0.0] * 8})
    assert one.values() == pytest.approx([0.09, -0.19, 0.29, -0.39, 0, 0, 0, 0])


def test_after_its_end_only_the_penalty_is_left(bench: Any) -> None:
    one = deepr(bench, lr=1.0, weight_decay=0.5, l1=0.01, temperature=1.0)
    one.step({"a": [0.2, 0, 0, 0, 0, 0, 0, 0]}, epoch=10)  # the first weight changes its sign, and stays
    assert one.mask() == KEPT["a"]
    assert one.values() == pytest.approx([-0.11, -0.19, 0.29, -0.39, 0, 0, 0, 0])
