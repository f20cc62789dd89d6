"""CIFAR-10 and CIFAR-100 from torchvision's folder layout, downloaded once where there is a network.

Means and standard deviations are those of the MEST code base, which SpFDE builds on. CIFAR-10's deviation is
the average of the images' own deviations (over all pixels it would be 0.247).
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .dataset import Dataset, Pixels, checksum
from .fetch import read_or_fetch


class _Facts(NamedTuple):
    class_name: str  # in torchvision.datasets
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


_FACTS = {
    "cifar10": _Facts("CIFAR10", 10, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": _Facts("CIFAR100", 100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def pixels(name: str) -> Pixels:
    """What is done to the pixels of the set `name`."""
    return Pixels(255.0, _FACTS[name].mean, _FACTS[name].std)


def read(name: str, root: Path) -> Dataset:
    """50,000 training and 10,000 test images, uint8 [N, 3, 32, 32], from torchvision's folder under `root`.

    An absent folder is downloaded first. Raises UserError if that fails, or if a folder is there but damaged.
    """
    from torchvision import datasets

    facts = _FACTS[name]
    source = getattr(datasets, facts.class_name)
    files = [entry[0] for entry in source.train_list + source.test_list] + [source.meta["filename"]]
    parts = read_or_fetch(name, root, source.base_folder, files, source)
    (train_x, train_y), (test_x, test_y) = map(_tensors, parts)
    return Dataset(
        name,
        train_x,
        train_y,
        test_x,
        test_y,
        num_classes=facts.num_classes,
        **vars(pixels(name)),
        checksum=checksum(train_x, train_y, test_x, test_y),
    )


def _tensors(part: Any) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(part.targets, dtype=torch.int64)
