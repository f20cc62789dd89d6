"""Data sets by name, with the subset and the hold-out that a run asks for."""

import math
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from spfde_exp.errors import UserError

from .dataset import Dataset, Pixels
from .images import ImageSet
from .specs import SOURCES, source_of
from .subset import balanced_indices

NAMES = tuple(SOURCES)


def load(
    name: str,
    root: str | Path,
    *,
    subset: int | None = None,
    val_fraction: float = 0.0,
    test_subset: int | None = None,
    split_seed: int = 0,
    folder: str | None = None,
    image_size: int | None = None,
) -> Dataset | ImageSet:
    """The data set `name` (one of NAMES), in memory on the CPU, or as the names of its files.

    `root` holds the data sets' folders (torchvision's for the sets that it downloads), digits needs none. `folder` is
    the one of dataset=folder, `image_size` the side of images that are decoded from files.

    `val_fraction` of the training set, class-balanced, becomes the hold-out; from the rest `subset` examples,
    class-balanced, are kept; `test_subset` is the same for the test set. All are functions of `split_seed`; a larger
    one contains the smaller.
    Raises UserError for an unknown name, an impossible split, and data that is absent or damaged.
    """
    whole = _whole(name, Path(root).expanduser(), folder, image_size)
    test = None
    if test_subset is not None:
        test = balanced_indices(whole.test_y, test_subset, split_seed, key="dataset.test_subset")
    train, val = _training_part(whole.train_y, subset, val_fraction, split_seed)
    return whole.take(train, test, val)


def pixels_of(name: str) -> Pixels:
    """What is done to the pixels of the data set `name` (one of NAMES), which need not be there."""
    answer: Pixels = import_module(f"{__package__}.{source_of(name).module}").pixels(name)
    return answer


def _training_part(
    labels: Tensor, subset: int | None, val_fraction: float, split_seed: int
) -> tuple[Tensor | None, Tensor | None]:
    """Indices to train on, None for all, and to hold out, None for none."""
    train = val = None
    if val_fraction:
        if not 0 < val_fraction < 1:
            raise UserError(f"dataset.val_fraction={val_fraction}: it must be from 0 up to, not including, 1")
        count = math.floor(val_fraction * len(labels) + 0.5)
        val = balanced_indices(labels, count, split_seed, key="dataset.val_fraction")
        rest = torch.ones(len(labels), dtype=torch.bool)
        rest[val] = False
        train = rest.nonzero().squeeze(1)
        if len(labels[train].unique()) < len(labels.unique()):
            raise UserError(f"dataset.val_fraction={val_fraction} leaves a class without examples: lower it")
    if subset is not None:
        available = torch.arange(len(labels)) if train is None else train
        train = available[balanced_indices(labels[available], subset, split_seed, key="dataset.subset")]
    return train, val


def _whole(name: str, root: Path, folder: str | None, image_size: int | None) -> Dataset | ImageSet:
    source = source_of(name)
    read = import_module(f"{__package__}.{source.module}").read
    whole: Dataset | ImageSet = read(name, root, folder, image_size) if source.files else read(name, root)
    return whole
