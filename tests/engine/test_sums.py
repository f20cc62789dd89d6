"""Sums over rows, whose order no compiler chooses."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit, prange

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
    for ours, those in zip(found, terms, strict=True):
        rounding = length * float(np.finfo(kind).eps) * np.abs(those).max(initial=0)
        assert ours == pytest.approx(math.fsum(those), rel=0, abs=rounding)


@pytest.mark.parametrize("length", [5, 45, 64, 1000])
@pytest.mark.parametrize(
    "total",
    [lambda x, y: row_sum(x), lambda x, y: square_sum(x, y[0]), lambda x, y: product_sum(x, y, x[0])],
    ids=["values", "squares", "products"],
)
def test_the_same_bits_wherever_they_are_compiled(length: int, total: Callable[[Row, Row], float]) -> None:
    """A compiler that might choose the order would choose by the loops around it."""
    inner = njit(total)

    @njit
    def alone(x, y):  # type: ignore[no-untyped-def]
        return inner(x, y)

    @njit(parallel=True)
    def in_a_loop(x, y):  # type: ignore[no-untyped-def]
        result = np.zeros(3, x.dtype)
        for i in prange(3):
            result[i] = inner(x[i:], y[i:])
        return result

    x, y = rows(length + 3, np.float32)
    assert [alone(x[i:], y[i:]) for i in range(3)] == in_a_loop(x, y).tolist()


def test_nan_stays() -> None:
    x = np.ones(40, np.float32)
    x[17] = np.nan
    assert np.isnan(row_sum(x))
