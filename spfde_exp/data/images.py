"""Data sets that stay in files: ImageNet, and any folder of images by class. Nothing but names is held in memory."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from spfde_exp.errors import UserError

from .dataset import Pixels
from .image_folder import Scan, Split, scan
from .specs import source_of

# Of ImageNet's training pixels, as torchvision's models use them; for other folders as well.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Files:
    """Some images of a split: labels int64 [N], and where the path of each lies in `names`, int64 [N] each."""

    folder: str
    names: bytes
    starts: Tensor
    ends: Tensor
    labels: Tensor

    @classmethod
    def of(cls, split: Split) -> "Files":
        """All images of a split."""
        ends = torch.tensor(split.ends, dtype=torch.int64)
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), ends])[: len(ends)]
        return cls(str(split.folder), split.names, starts, ends, torch.tensor(split.labels, dtype=torch.int64))

    def take(self, indices: Tensor) -> "Files":
        """The images `indices`, int64 [n]."""
        return replace(self, starts=self.starts[indices], ends=self.ends[indices], labels=self.labels[indices])

    def path(self, index: int) -> str:
        """Path of an image."""
        name = self.names[int(self.starts[index]) : int(self.ends[index])]
        return os.path.join(self.folder, os.fsdecode(name))


@dataclass(frozen=True)
class ImageSet:
    """A data set in files, decoded batch by batch to `image_size` x `image_size` RGB pixels.

    A model sees ``(pixel / 255 - mean) / std``, per channel. `checksum` is that of `Scan`, before a subset or a
    hold-out is taken. `val` is None without a hold-out.
    """

    name: str
    train: Files
    test: Files
    num_classes: int
    image_size: int
    checksum: str
    val: Files | None = None

    @property
    def train_y(self) -> Tensor:
        """Labels of the training images, int64 [N]."""
        return self.train.labels

    @property
    def test_y(self) -> Tensor:
        """Labels of the test images, int64 [N]."""
        return self.test.labels

    def take(self, train: Tensor | None, test: Tensor | None, val: Tensor | None) -> "ImageSet":
        """The images of these indices (None: all; no hold-out), int64 [n]; `val` is taken from the training set."""
        return replace(
            self,
            train=self.train if train is None else self.train.take(train),
            test=self.test if test is None else self.test.take(test),
            val=None if val is None else self.train.take(val),
        )

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same: batches go to the device as they are decoded."""
        return self


def pixels(name: str) -> Pixels:
    """What is done to pixels, whatever the folder."""
    return Pixels(255.0, MEAN, STD)


def read(name: str, root: Path, folder: str | None, image_size: int) -> ImageSet:
    """The set `name` below ``root/folder``; imagenet lies in ``root/imagenet``, or in `root` itself.

    Raises UserError if the folder is not there, has another layout, or is not all of ImageNet where it should be.
    """
    found = scan(name, root, folder)
    _check(name, found)
    return ImageSet(
        name, Files.of(found.train), Files.of(found.test), len(found.classes), image_size, checksum=found.checksum
    )


def _check(name: str, found: Scan) -> None:
    spec = source_of(name).spec
    sizes = len(found.train.labels), len(found.test.labels), len(found.classes)
    if spec is not None and sizes != (spec.train, spec.test, spec.classes):
        raise UserError(
            f"{found.train.folder.parent} is not {name}: it has {sizes[0]} training and {sizes[1]} test images of "
            f"{sizes[2]} classes, not {spec.train}, {spec.test} and {spec.classes}; other sets are dataset=folder"
        )
