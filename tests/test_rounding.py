"""Rounding against fractions, which have no rounding error of their own."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp.rounding import kept_count, round_half_up, share_of

PERMILLE = st.integers(0, 1000)
UNITS = st.integers(0, 10**9)


def exact(numerator: int, denominator: int) -> int:
    return floor(Fraction(numerator, denominator) + Fraction(1, 2))


@pytest.mark.parametrize(
    ("number", "whole"), [(0.5, 1), (1.5, 2), (2.5, 3), (2.4999, 2), (-0.5, 0), (-1.5, -1), (7.0, 7)]
)
def test_half_goes_up(number: float, whole: int) -> None:
    assert round_half_up(number) == whole


def test_just_below_a_half_goes_down() -> None:
    assert round_half_up(0.49999999999999994) == 0


@given(UNITS, PERMILLE)
def test_shares_are_decimal(units: int, permille: int) -> None:
    share = permille / 1000
    assert share_of(units, share) == exact(units * permille, 1000)
    assert kept_count(units, share) == exact(units * (1000 - permille), 1000)


@pytest.mark.parametrize(
    ("units", "sparsity", "kept"),
    [
        (25, 0.9, 3),  # 2.5; in binary 25 x (1 - 0.9) is 2.4999...
        (45, 0.9, 5),  # 4.5, which Python's round() makes 4
        (10, 0.05, 10),  # 9.5
        (144, 0.85, 22),  # 21.6
        (1000, 0.999, 1),
        (9216, 0.0, 9216),
    ],
)
def test_kept_by_hand(units: int, sparsity: float, kept: int) -> None:
    assert kept_count(units, sparsity) == kept


@given(UNITS, PERMILLE)
def test_a_sparser_layer_never_keeps_more(units: int, permille: int) -> None:
    if permille < 1000:
        assert kept_count(units, (permille + 1) / 1000) <= kept_count(units, permille / 1000)
