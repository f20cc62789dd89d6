"""Sums over rows, whose order no compiler chooses."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spfde_exp.engine.sums import product_sum, row_sum, square_sum

Row = npt.NDArray[np.float64] | npt.NDArray[np.float32]


def rows(length: int, kind: type) -> tuple[Row, Row]:
    """Two rows of random numbers of a type."""
    one, other = np.random.default_rng(length).normal(3, 1, (2, length))
    return one.astype(kind), other.astype(kind)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@settings(max_examples=30)
@given(length=st.integers(0, 300))
def test_they_are_the_sums(kind: type, length: int) -> None:
    x, y = rows(length, kind)
    mean = 2.5
    terms = x.astype(float), (x - mean).astype(float) ** 2, x.astype(float) * (y - mean).astype(float)
    found = row_sum(x), square_sum(x, kind(mean)), product_sum(x, y, kind(mean))
    lanes = 64 // x.itemsize
    roundings = length // (4 * lanes) + 3 + 2 + lanes.bit_length() + lanes  # of a number on its way into the sum
    for ours, those in zip(found, terms, strict=True):
        rounding = min(length, roundings) * float(np.finfo(kind).eps) * np.abs(those).sum()
        assert ours == pytest.approx(math.fsum(those), rel=0, abs=rounding)


def in_order(x: Row) -> float:
    """The sum in the promised order: lanes of four vectors by turns, halves of what they add up to, then the rest."""
    lanes = 64 // x.itemsize
    whole = len(x) // lanes * lanes
    vectors = x[:whole].reshape(-1, lanes)
    sums = np.zeros((4, lanes), x.dtype)
    turns = len(vectors) // 4 * 4
    for index, vector in enumerate(vectors):
        sums[index % 4 if index < turns else 0] += vector
    total = (sums[0] + sums[1]) + (sums[2] + sums[3])
    while len(total) > 1:
        total = total[: len(total) // 2] + total[len(total) // 2 :]
    result = total[0]
    for number in x[whole:]:
        result += number
    return float(result)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@given(length=st.integers(0, 300))
def test_they_have_one_order(kind: type, length: int) -> None:
    x, _ = rows(length, kind)
    assert row_sum(x) == in_order(x)


def test_nan_stays() -> None:
    x = np.ones(40, np.float32)
    x[17] = np.nan
    assert np.isnan(row_sum(x))
