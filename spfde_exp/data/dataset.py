"""A data set in memory: plain tensors with what is needed to normalise and to recognise them."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pixels:
    """How a model sees pixels: ``(pixel / scale - mean) / std``, per channel."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """Images as uint8 [N, C, H, W], labels as int64 [N].

    A model sees ``(pixel / scale - mean) / std``, per channel. `checksum` is the SHA-256 of the whole set,
    before a subset or a hold-out is taken from it. `val_x` and `val_y` are None without a hold-out.
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float
    checksum: str
    val_x: Tensor | None = None
    val_y: Tensor | None = None

    def take(self, train: Tensor | None, test: Tensor | None, val: Tensor | None) -> "Dataset":
        """The examples of these indices (None: all; no hold-out), int64 [n]; `val` is taken from the training set."""
        return replace(
            self,
            train_x=_taken(self.train_x, train),
            train_y=_taken(self.train_y, train),
            test_x=_taken(self.test_x, test),
            test_y=_taken(self.test_y, test),
            val_x=None if val is None else self.train_x[val],
            val_y=None if val is None else self.train_y[val],
        )

    def to(self, device: torch.device | str) -> "Dataset":
        """The same set with every tensor on `device`."""
        return replace(
            self,
            train_x=self.train_x.to(device),
            train_y=self.train_y.to(device),
            test_x=self.test_x.to(device),
            test_y=self.test_y.to(device),
            val_x=None if self.val_x is None else self.val_x.to(device),
            val_y=None if self.val_y is None else self.val_y.to(device),
        )


def _taken(values: Tensor, indices: Tensor | None) -> Tensor:
    return values if indices is None else values[indices]


def checksum(*tensors: Tensor) -> str:
    """SHA-256 (hexadecimal) over the bytes of CPU tensors, each in its logical order, one after the other."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
