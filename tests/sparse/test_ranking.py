"""The highest scores against a sort of Python's."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp.failure import NanLoss
from spfde_exp.sparse.ranking import top

SCORES = st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 0.25, 0.5, 1e-30, 7.0, math.inf]), max_size=40)


@pytest.mark.parametrize(
    ("score", "count", "expected"),
    [
        ([3.0, 1.0, 2.0, 5.0], 2, [1, 0, 0, 1]),
        ([1.0, 1.0, 1.0, 1.0], 2, [1, 1, 0, 0]),
        ([0.0, 2.0, 1.0, 2.0, 1.0, 1.0], 4, [0, 1, 1, 1, 1, 0]),
        ([4.0, 5.0], 0, [0, 0]),
        ([4.0, 5.0], -1, [0, 0]),
        ([4.0, 5.0], 9, [1, 1]),
        ([], 3, []),
    ],
)
def test_by_hand(score: list[float], count: int, expected: list[int]) -> None:
    assert top(torch.tensor(score), count).int().tolist() == expected


@given(score=SCORES, count=st.integers(0, 45))
def test_as_a_stable_sort(score: list[float], count: int) -> None:
    ranked = sorted(range(len(score)), key=lambda index: (-score[index], index))
    assert top(torch.tensor(score), count).nonzero()[:, 0].tolist() == sorted(ranked[:count])


@given(score=SCORES.filter(len), place=st.integers(0, 39), count=st.integers(-1, 45))
def test_what_is_not_a_number_is_told_or_does_not_matter(score: list[float], place: int, count: int) -> None:
    """Never fewer than `count`, as comparing with NaN would give."""
    score[place % len(score)] = math.nan
    if 0 < count < len(score):
        with pytest.raises(NanLoss, match="is not a number: training diverged"):
            top(torch.tensor(score), count)
    else:
        assert int(top(torch.tensor(score), count).sum()) == min(max(0, count), len(score))
