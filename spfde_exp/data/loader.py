"""Batches on the device: shuffled and augmented for training, plain for evaluation."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from spfde_exp.schema import DatasetConfig

from .augment import Augment, Draws
from .dataset import Dataset
from .images import ImageSet


class Loader(Protocol):
    """What a run needs of its data; of a set in memory (`Batches`) and of one in files (`ImageBatches`) alike."""

    @property
    def labels(self) -> Tensor:
        """Labels of the training set, int64 [N], on the device."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image as the model sees it."""

    def num_batches(self, n: int) -> int:
        """Batches in an epoch over n examples; the last, incomplete one counts."""

    def epoch(self, kept: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """One pass over the examples `kept` (int64 [n] on the device), each once, shuffled and augmented.

        Yields x float32 [B, C, H, W], y int64 [B] and the examples' indices into the training set, int64 [B].
        All randomness of the pass is drawn from the CPU `generator` in this call, the same for every device.
        """

    def evaluation(self, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """x float32 [B, C, H, W] and y int64 [B] of the split test, val or train, in order, not augmented.

        Raises ValueError for another split, or for val without a hold-out.
        """


def loader_of(dataset: Dataset | ImageSet, config: DatasetConfig, batch_size: int, device: torch.device) -> Loader:
    """Batches of a data set: in memory, on the device of its tensors, or decoded from files onto `device`."""
    if isinstance(dataset, ImageSet):
        from .image_loader import ImageBatches  # imports torchvision

        workers = torch.get_num_threads() if config.workers == "auto" else int(config.workers)
        return ImageBatches(dataset, batch_size, config.flip, workers, device)
    return Batches(dataset, batch_size, config.pad, config.flip)


class Batches:
    """Batches of `dataset`, on the device of its tensors; see Augment for `pad` and `flip`."""

    def __init__(self, dataset: Dataset, batch_size: int, pad: int, flip: bool) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.augment = Augment(dataset.train_x, dataset.mean, dataset.std, dataset.scale, pad, flip)

    @property
    def labels(self) -> Tensor:
        """Labels of the training set, int64 [N]."""
        return self.dataset.train_y

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image as the model sees it."""
        channels, height, width = self.dataset.train_x.shape[1:]
        return channels, height, width

    def num_batches(self, n: int) -> int:
        """Batches in an epoch over n examples; the last, incomplete one counts."""
        return -(-n // self.batch_size)

    def epoch(self, kept: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """As `Loader.epoch`."""
        order = kept[torch.randperm(len(kept), generator=generator).to(kept.device)]
        draws = self.augment.draw(len(kept), generator).to(kept.device)
        return self._batches(order, draws)

    def _batches(self, order: Tensor, draws: Draws) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for start in range(0, len(order), self.batch_size):
            part = slice(start, start + self.batch_size)
            indices = order[part]
            yield self.augment.batch(indices, draws[part]), self.dataset.train_y[indices], indices

    def evaluation(self, split: str, batch_size: int = 1000) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Loader.evaluation`."""
        data = self.dataset
        splits = {
            "test": (data.test_x, data.test_y),
            "val": (data.val_x, data.val_y),
            "train": (data.train_x, data.train_y),
        }
        images, labels = splits.get(split, (None, None))
        if images is None or labels is None:
            raise ValueError(f"{data.name} has no split {split!r}")
        return self._plain(images, labels, batch_size)

    def _plain(self, images: Tensor, labels: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            yield self.augment.normalise(x), y
