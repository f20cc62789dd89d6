"""Class-balanced subsets and hold-outs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spfde_exp.data import balanced_indices, load
from spfde_exp.errors import UserError

COUNTS = st.lists(st.integers(1, 12), min_size=1, max_size=6)


def labelled(counts: list[int], seed: int) -> Tensor:
    labels = torch.repeat_interleave(torch.arange(len(counts)) * 3, torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


@given(COUNTS, st.integers(0, 5), st.data())
def test_balanced_distinct_nested_and_seeded(counts: list[int], seed: int, data: st.DataObject) -> None:
    labels = labelled(counts, seed)
    most = sum(min(count, min(counts) + 1) for count in counts)
    n = data.draw(st.integers(len(counts), most))
    chosen = balanced_indices(labels, n, seed)
    assert chosen.dtype == torch.int64
    assert len(chosen) == len(chosen.unique()) == n
    assert torch.equal(chosen, chosen.sort().values)
    sizes = [int((labels[chosen] == label).sum()) for label in labels.unique()]
    assert max(sizes) - min(sizes) <= 1
    assert torch.equal(chosen, balanced_indices(labels, n, seed))
    if n < most:
        assert set(chosen.tolist()) < set(balanced_indices(labels, n + 1, seed).tolist())


@given(COUNTS, st.integers(0, 5))
def test_sizes_that_cannot_be_balanced_are_refused(counts: list[int], seed: int) -> None:
    labels = labelled(counts, seed)
    most = sum(min(count, min(counts) + 1) for count in counts)
    for n in (0, len(counts) - 1, most + 1, len(labels) + 1):
        with pytest.raises(UserError, match=f"^dataset.subset asks for {n} .* {len(counts)} to {most}$"):
            balanced_indices(labels, n, seed, key="dataset.subset")


def test_seeds_differ_and_choice_is_not_the_first_of_each_class() -> None:
    labels = torch.arange(1000) % 10
    draws = [tuple(balanced_indices(labels, 50, seed).tolist()) for seed in range(5)]
    assert len(set(draws)) == 5
    assert tuple(range(50)) not in draws


def rows(x: Tensor | None, y: Tensor | None) -> list[tuple[int, ...]]:
    assert x is not None and y is not None
    return sorted(map(tuple, torch.cat([x.flatten(1).long(), y[:, None]], dim=1).tolist()))


def test_hold_out_and_rest_are_the_whole() -> None:
    whole = load("digits", "unused")
    held = load("digits", "unused", val_fraction=0.1)
    assert held.val_y is not None
    assert len(held.val_y) == 144  # 143.7 rounded
    assert held.val_y.bincount().max() - held.val_y.bincount().min() <= 1
    together = rows(held.train_x, held.train_y) + rows(held.val_x, held.val_y)
    assert sorted(together) == rows(whole.train_x, whole.train_y)
    assert torch.equal(held.test_x, whole.test_x)


def test_subset_is_taken_from_what_the_hold_out_leaves() -> None:
    held = load("digits", "unused", val_fraction=0.1, split_seed=4)
    both = load("digits", "unused", val_fraction=0.1, subset=200, split_seed=4)
    smaller = load("digits", "unused", val_fraction=0.1, subset=100, split_seed=4)
    assert both.train_y.bincount().tolist() == [20] * 10
    assert rows(both.val_x, both.val_y) == rows(held.val_x, held.val_y)
    remaining = set(rows(held.train_x, held.train_y))
    assert set(rows(smaller.train_x, smaller.train_y)) < set(rows(both.train_x, both.train_y)) < remaining


def test_split_seed_decides() -> None:
    first, again, other = (load("digits", "unused", subset=50, split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.train_x, again.train_x)
    assert not torch.equal(first.train_x, other.train_x)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 0.001, 0.99])
def test_impossible_hold_out(fraction: float) -> None:
    with pytest.raises(UserError, match="dataset.val_fraction"):
        load("digits", "unused", val_fraction=fraction)


@pytest.mark.parametrize("subset", [0, 9, 1437, 5000])
def test_impossible_subset(subset: int) -> None:
    # The smallest class has 139 examples, so 1,437 cannot be balanced.
    with pytest.raises(UserError, match="dataset.subset asks for"):
        load("digits", "unused", subset=subset)
