"""Units of a layer: sums, masks and choices written out."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spfde_exp.sparse.layout import PATTERNS, Layout, Patterns

BLOCK = Layout((8, 3), 4, 1, "blocks")  # 2 x 3 blocks of 4 filters
SQUARE = Layout((4, 4), 2, 2, "blocks")
FILTER = Layout((3, 2, 1, 2), 1, 4, "filters")
CHANNEL = Layout((3, 2, 1, 2), 3, 2, "channels")
PATTERN = Patterns((2, 3, 3, 3))


def bits(mask: Tensor) -> list[int]:
    return mask.int().flatten().tolist()


# -- sums of importance per unit (MEST appendix D)


def test_sums_of_4x1_blocks() -> None:
    values = torch.arange(24.0).view(8, 3)  # column c of filters 0-3 holds c, c+3, c+6, c+9
    assert BLOCK.total(values).tolist() == [18.0, 22.0, 26.0, 66.0, 70.0, 74.0]


def test_sums_of_2x2_blocks() -> None:
    values = torch.arange(16.0).view(4, 4)
    assert SQUARE.total(values).tolist() == [0 + 1 + 4 + 5, 2 + 3 + 6 + 7, 8 + 9 + 12 + 13, 10 + 11 + 14 + 15]


def test_sums_of_filters_channels_and_kernels() -> None:
    values = torch.tensor([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]]).view(3, 2, 1, 2)
    assert FILTER.total(values).tolist() == [10.0, 26.0, 42.0]
    assert CHANNEL.total(values).tolist() == [1 + 2 + 5 + 6 + 9 + 10, 3 + 4 + 7 + 8 + 11 + 12]
    assert PATTERN.total(torch.ones(2, 3, 3, 3)).tolist() == [9.0] * 6


# -- masks of units


def test_masks_of_units() -> None:
    assert bits(BLOCK.spread(torch.tensor([0, 1, 0, 0, 0, 1]).bool())) == [0, 1, 0] * 4 + [0, 0, 1] * 4
    assert bits(SQUARE.spread(torch.tensor([1, 0, 0, 1]).bool())) == [1, 1, 0, 0] * 2 + [0, 0, 1, 1] * 2
    assert bits(FILTER.spread(torch.tensor([0, 1, 0]).bool())) == [0] * 4 + [1] * 4 + [0] * 4
    assert bits(CHANNEL.spread(torch.tensor([0, 1]).bool())) == [0, 0, 1, 1] * 3


@pytest.mark.parametrize("layout", [BLOCK, SQUARE, FILTER, CHANNEL, PATTERN, Layout((5, 2), 1, 1, "weights")])
def test_alive_is_the_inverse_of_fresh(layout: Layout) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        units = torch.rand(layout.units, generator=generator) < 0.5
        mask = layout.fresh(units, generator)
        assert torch.equal(layout.alive(mask), units)
        assert int(mask.sum()) == int(units.sum()) * layout.per_unit


def test_a_unit_with_any_weight_is_alive() -> None:
    mask = torch.zeros(8, 3, dtype=torch.bool)
    mask[6, 2] = True
    assert bits(BLOCK.alive(mask)) == [0, 0, 0, 0, 0, 1]


# -- which units stay


def test_the_best_units_and_ties() -> None:
    assert bits(BLOCK.top(torch.tensor([1.0, 5, 3, 5, 0, 3]), 3)) == [0, 1, 1, 1, 0, 0]
    assert bits(BLOCK.top(torch.zeros(6), 2)) == [1, 1, 0, 0, 0, 0]
    assert bits(BLOCK.top(torch.zeros(6), 0)) == [0] * 6


def test_kernels_are_shared_out_evenly_over_filters() -> None:
    score = torch.tensor([9.0, 8, 7, 1, 2, 3])  # the three best are all of the first filter
    assert bits(PATTERN.top(score, 2)) == [1, 0, 0, 0, 0, 1]
    assert bits(PATTERN.top(score, 3)) == [1, 1, 0, 0, 0, 1]  # 8 is the better second kernel
    assert bits(PATTERN.top(score, 4)) == [1, 1, 0, 0, 1, 1]
    assert bits(PATTERN.top(score, 6)) == [1] * 6


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31), st.data())
def test_filters_keep_the_best_of_their_own_kernels(filters: int, kernels: int, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, filters * kernels))
    score = torch.rand(filters * kernels, generator=torch.Generator().manual_seed(seed))
    chosen = Patterns((filters, kernels, 3, 3)).top(score, count).view(filters, kernels)
    assert int(chosen.sum()) == count
    assert int(chosen.sum(1).max() - chosen.sum(1).min()) <= 1
    for row, kept in zip(score.view(filters, kernels), chosen, strict=True):
        assert torch.equal(kept, Layout((kernels,), 1, 1, "weights").top(row, int(kept.sum())))


# -- patterns


def test_the_eight_patterns() -> None:
    """By their pictures, as the released code has them."""
    pictures = """
        ... ... .## ##. ... ... .#. .#.
        .## ##. .## ##. ..# ### .## ##.
        .## ##. ... ... ### .#. .#. .#.
    """
    rows = [line.split() for line in pictures.splitlines() if line.strip()]
    found = ["".join("#" if index in entries else "." for index in range(9)) for entries in PATTERNS]
    assert found == ["".join(picture) for picture in zip(*rows, strict=True)]
    assert len(set(PATTERNS)) == 8 and {len(entries) for entries in PATTERNS} == {4}


def test_new_kernels_have_patterns_drawn_evenly() -> None:
    layout = Patterns((40, 40, 3, 3))
    generator = torch.Generator().manual_seed(1)
    kernels = layout.fresh(torch.ones(layout.units, dtype=torch.bool), generator).view(-1, 9)
    found = [tuple(kernel.nonzero().flatten().tolist()) for kernel in kernels]
    counts = [found.count(entries) for entries in PATTERNS]
    assert sum(counts) == 1600
    assert sum((count - 200) ** 2 / 200 for count in counts) < 29.9  # chi-square of 7 degrees, once in 10,000


def test_the_best_pattern_has_the_largest_sum() -> None:
    corner = [0, 0, 0, 0, 1.0, 1, 0, 1, 1]  # the first pattern, 4 5 7 8
    cross = [0, 9.0, 0, 2, 1, 3, 0, 4, 0]  # 1 4 5 7 gives 17, 1 3 4 7 gives 16
    values = torch.tensor([corner, cross]).view(1, 2, 3, 3)
    assert bits(Patterns((1, 2, 3, 3)).best(values)) == [0, 0, 0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0]
    assert bits(SQUARE.best(torch.rand(4, 4))) == [1] * 16


# -- counts


@pytest.mark.parametrize(
    ("layout", "sparsity", "kept"),
    [
        (Layout((64, 32, 3, 3), 1, 1, "weights"), 0.9, 1843),  # 1843.2
        (Layout((64, 32, 3, 3), 4, 1, "blocks"), 0.9, 461),  # 460.8
        (Patterns((64, 32, 3, 3)), 0.9, 461),  # 1843.2 weights are 460.8 kernels of four
        (Patterns((64, 32, 3, 3)), 0.5, 2048),  # all kernels: 55.6 % are zero
        (Layout((64, 32, 3, 3), 1, 288, "filters"), 0.9, 6),  # 6.4
        (Layout((64, 32, 3, 3), 64, 9, "channels"), 0.9, 3),  # 3.2
        (Layout((10, 1), 1, 1, "weights"), 0.85, 2),  # 1.5, and 1 - 0.85 is not 0.15 in binary
    ],
)
def test_kept_units(layout: Layout, sparsity: float, kept: int) -> None:
    assert layout.kept_units(sparsity) == kept


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_kept_kernels_are_rounded_half_up(filters: int, channels: int, permille: int) -> None:
    layout = Patterns((filters, channels, 3, 3))
    exact = Fraction(1000 - permille, 1000) * filters * channels * 9 / 4
    assert layout.kept_units(permille / 1000) == min(filters * channels, int(exact + Fraction(1, 2)))


def test_shares_that_can_be_kept() -> None:
    assert PATTERN.densest == 4 / 9
    assert BLOCK.densest == FILTER.densest == 1


def test_indices_of_table_a1() -> None:
    """A column index per unit and F / m + 1 row indices."""
    assert Layout((64, 32, 3, 3), 1, 1, "weights").indices(1843) == 1843 + 65
    assert Layout((64, 32, 3, 3), 4, 1, "blocks").indices(1844) == 461 + 17
    assert Patterns((64, 32, 3, 3)).indices(1844) == 461 + 65
    assert Layout((64, 32, 3, 3), 1, 288, "filters", indexed=False).indices(1728) == 0
