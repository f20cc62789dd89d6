"""Unbiased linear CKA against sums over pairs, triples and quadruples of examples, and its invariances."""

from itertools import permutations
from math import isnan, perm, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spfde_exp.hooks import cka as module
from spfde_exp.hooks.cka import Kernel, cka


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=seeded(seed), dtype=torch.float64)


def alike(one: Tensor, other: Tensor) -> float:
    return cka(Kernel(one), Kernel(other))


def hsic(k: Tensor, m: Tensor) -> float:
    """The U-statistic of HSIC with kernel matrices k, m [n, n], from its definition: means over different examples.

    Song et al. (2012), eq. 3 and theorem 5: E[k_ij m_ij] - 2 E[k_ij m_iq] + E[k_ij m_qr].
    """
    n = range(len(k))
    pairs = sum(float(k[i, j] * m[i, j]) for i, j in permutations(n, 2)) / perm(len(k), 2)
    triples = sum(float(k[i, j] * m[i, q]) for i, j, q in permutations(n, 3)) / perm(len(k), 3)
    quadruples = sum(float(k[i, j] * m[q, r]) for i, j, q, r in permutations(n, 4)) / perm(len(k), 4)
    return pairs - 2 * triples + quadruples


@pytest.mark.parametrize("n", [4, 5, 7])
def test_against_the_definition(n: int) -> None:
    x, y = features(n, 3), features(n, 5, seed=1)
    x[:, 0] += 4  # not centred
    y += x[:, :1]
    k, m = x @ x.T, y @ y.T
    expected = hsic(k, m) / sqrt(hsic(k, k) * hsic(m, m))
    assert alike(x, y) == pytest.approx(expected, abs=1e-12)


def test_it_is_unbiased() -> None:
    """Independent features of few examples: the biased estimate is far from 0, this one is 0 on average."""
    drawn = [(features(10, 30, seed=s), features(10, 30, seed=1000 + s)) for s in range(300)]
    mean = sum(alike(x, y) for x, y in drawn) / len(drawn)
    biased = sum(feature_form(x, y) for x, y in drawn) / len(drawn)
    assert biased > 0.6 and abs(mean) < 0.02


def feature_form(x: Tensor, y: Tensor) -> float:
    """The biased estimate, Kornblith et al. (2019), eq. 6: |Y'X|^2 / (|X'X| |Y'Y|) of centred features."""
    x, y = x - x.mean(0), y - y.mean(0)
    return float((y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


def test_with_many_examples_it_is_the_biased_one() -> None:
    x = features(800, 6)
    y = x @ features(6, 4, seed=1) + 0.7 * features(800, 4, seed=2)
    assert alike(x, y) == pytest.approx(feature_form(x, y), abs=0.01)
    assert 0.2 < alike(x, y) < 0.95


# -- invariances

MATRIX = st.integers(0, 10_000).map(lambda seed: features(8, 5, seed=seed))


@settings(max_examples=50, deadline=None)
@given(MATRIX, MATRIX, st.floats(1e-3, 1e3), st.integers(0, 100))
def test_rotation_scale_and_shift_change_nothing(x: Tensor, y: Tensor, scale: float, seed: int) -> None:
    rotation = torch.linalg.qr(features(5, 5, seed=seed)).Q
    before = alike(x, y)
    assert alike(x @ rotation, y) == pytest.approx(before, abs=1e-9)
    assert alike(scale * x, y) == pytest.approx(before, abs=1e-9)
    assert alike(x + scale, y) == pytest.approx(before, abs=1e-6)
    assert alike(x, scale * (x @ rotation)) == pytest.approx(1, abs=1e-9)
    assert alike(y, x) == pytest.approx(before, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(MATRIX)
def test_like_itself_is_one(x: Tensor) -> None:
    assert alike(x, x) == pytest.approx(1, abs=1e-14)


def test_another_linear_map_than_a_rotation_does() -> None:
    x = features(8, 2)
    assert alike(x, x * torch.tensor([1.0, 100.0])) < 0.99


def test_every_shape_is_flattened() -> None:
    x, y = features(6, 3, 2, 2), features(6, 7, seed=1)
    assert alike(x, y) == pytest.approx(alike(x.reshape(6, 12), y), abs=1e-12)
    assert alike(x.to(memory_format=torch.channels_last), y) == alike(x, y)


def test_many_features_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features(6, 100), features(6, 9, seed=1)
    whole = alike(x, y)
    monkeypatch.setattr(module, "CHUNK", 7)
    assert alike(x, y) == pytest.approx(whole, abs=1e-12)


def test_float32_features_lose_nothing_on_the_way() -> None:
    x, y = features(64, 500).float(), features(64, 300, seed=1).float()
    assert alike(x, y) == pytest.approx(alike(x.double(), y.double()), abs=1e-15)


# -- never NaN

ODD = st.lists(
    st.lists(st.floats(width=32) | st.sampled_from([0.0, 1.0, 1e30, -1e30, 1e-30]), min_size=3, max_size=3),
    min_size=5,
    max_size=5,
).map(torch.tensor)


@settings(max_examples=200, deadline=None)
@given(ODD, ODD)
def test_never_nan(x: Tensor, y: Tensor) -> None:
    value = alike(x, y)
    assert not isnan(value) and -1 <= value <= 1


@pytest.mark.parametrize(
    "dead",
    [
        torch.zeros(6, 4),
        torch.full((6, 4), 0.1),
        torch.tensor([[0.1, 1e8, -3.0]]).expand(6, 3),
        torch.full((6, 4), float("nan")),
        torch.full((6, 4), float("inf")),
        torch.empty(6, 0),
    ],
    ids=["zero", "constant", "constant per feature", "nan", "infinite", "no feature"],
)
def test_what_tells_no_example_from_another_is_like_nothing(dead: Tensor) -> None:
    assert alike(dead, features(6, 4)) == alike(features(6, 4), dead) == alike(dead, dead) == 0.0


def test_one_dead_feature_is_no_harm() -> None:
    x = features(6, 4)
    assert alike(torch.cat([x, torch.full((6, 1), 7.0)], 1), x) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e30, 1e150])
def test_tiny_and_huge_features_are_told_apart(scale: float) -> None:
    x, y = features(6, 4), features(6, 4, seed=1)
    assert alike(scale * x, y) == pytest.approx(alike(x, y), abs=1e-9)


def test_four_examples_are_needed() -> None:
    with pytest.raises(ValueError, match="at least 4 examples, not 3"):
        Kernel(features(3, 2))
