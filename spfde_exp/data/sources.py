"""Data sets by name, with the subset and the hold-out that a run asks for."""

import math
from dataclasses import replace
from pathlib import Path

import torch

from spfde_exp.errors import UserError

from .dataset import Dataset
from .specs import SPECS
from .subset import balanced_indices

NAMES = tuple(SPECS)


def load(
    name: str,
    root: str | Path,
    *,
    subset: int | None = None,
    val_fraction: float = 0.0,
    test_subset: int | None = None,
    split_seed: int = 0,
) -> Dataset:
    """The data set `name` (one of NAMES) on the CPU; `root` holds torchvision's folders, digits needs none.

    `val_fraction` of the training set, class-balanced, becomes `val_x` and `val_y`; from the rest `subset`
    examples, class-balanced, are kept; `test_subset` is the same for the test set. All are functions of
    `split_seed`; a larger one contains the smaller.
    Raises UserError for an unknown name, an impossible split, and data that is absent or damaged.
    """
    whole = _whole(name, Path(root).expanduser())
    if test_subset is not None:
        test = balanced_indices(whole.test_y, test_subset, split_seed, key="dataset.test_subset")
        whole = replace(whole, test_x=whole.test_x[test], test_y=whole.test_y[test])
    size = len(whole.train_y)
    train = torch.arange(size)
    val_x = val_y = None
    if val_fraction:
        if not 0 < val_fraction < 1:
            raise UserError(f"dataset.val_fraction={val_fraction}: it must be from 0 up to, not including, 1")
        count = math.floor(val_fraction * size + 0.5)
        val = balanced_indices(whole.train_y, count, split_seed, key="dataset.val_fraction")
        val_x, val_y = whole.train_x[val], whole.train_y[val]
        held_out = torch.zeros(size, dtype=torch.bool)
        held_out[val] = True
        train = train[~held_out]
        if len(whole.train_y[train].unique()) < whole.num_classes:
            raise UserError(f"dataset.val_fraction={val_fraction} leaves a class without examples: lower it")
    if subset is not None:
        train = train[balanced_indices(whole.train_y[train], subset, split_seed, key="dataset.subset")]
    if len(train) == size:
        return whole
    train_x, train_y = whole.train_x[train], whole.train_y[train]
    return replace(whole, train_x=train_x, train_y=train_y, val_x=val_x, val_y=val_y)


def _whole(name: str, root: Path) -> Dataset:
    if name == "digits":
        from . import digits

        return digits.read()
    if name in ("cifar10", "cifar100"):
        from . import cifar

        return cifar.read(name, root)
    raise UserError(f"there is no data set {name!r}: choose one of {', '.join(NAMES)}")
