"""Batches of images that are decoded from their files while the network trains, by processes beside it.

Training images are the usual ones of ImageNet: a random crop of 8 to 100 % of the area and a ratio of sides of 3/4 to
4/3, resized, and mirrored with probability 1/2 (Szegedy et al., 2015). Tested is the centre of the image, resized to
256/224 of what is cut out. Neither paper says more than "standard data augmentation" (MEST section 5).
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2

from spfde_exp.errors import UserError

from .augment import Normalise
from .images import MEAN, STD, Files, ImageSet

CHUNK = 32  # images that a worker decodes at once: several share a batch, and less memory waits than in whole batches
AHEAD = 4  # chunks that wait or are decoded for each worker


class Key(NamedTuple):
    """What to decode: an image of a split by its number, augmented from `seed`; None: as it is tested."""

    split: str
    number: int
    seed: int | None


class Unreadable(NamedTuple):
    """A file that is no image, or not a whole one."""

    path: str
    reason: str


class Decoder(TorchDataset[Tensor | Unreadable]):
    """Decodes and crops one image after the other. The same key gives the same pixels in every process."""

    def __init__(self, splits: Mapping[str, Files], size: int, flip: bool) -> None:
        self.splits = splits
        crop = v2.RandomResizedCrop(size, antialias=True)
        self.augment = v2.Compose([crop, v2.RandomHorizontalFlip()]) if flip else crop
        self.plain = v2.Compose([v2.Resize(round(size * 256 / 224), antialias=True), v2.CenterCrop(size)])

    def __getitem__(self, key: Key) -> Tensor | Unreadable:
        """Pixels, uint8 [H, W, 3]."""
        path = self.splits[key.split].path(key.number)
        try:
            image = default_loader(path)
        except MemoryError:
            raise
        except Exception as error:  # Pillow has no class of its own for what broken files cause
            return Unreadable(path, " ".join(str(error).split()) or type(error).__name__)
        if key.seed is None:
            image = self.plain(image)
        else:
            state = torch.get_rng_state()
            torch.default_generator.manual_seed(key.seed)  # torch.manual_seed would reseed the GPUs too
            image = self.augment(image)
            torch.set_rng_state(state)
        pixels: Tensor = v2.functional.pil_to_tensor(image).permute(1, 2, 0)
        return pixels


class Chunks:
    """The keys of one pass in chunks, none of which belongs to two batches. A sampler that is told what comes next."""

    def __init__(self) -> None:
        self.split, self.batch_size = "train", 1
        self.order = torch.empty(0, dtype=torch.int64)
        self.seeds: Tensor | None = None

    def __iter__(self) -> Iterator[list[Key]]:
        return self._keys(self.split, self.order, self.seeds, self.batch_size)

    def _keys(self, split: str, order: Tensor, seeds: Tensor | None, batch_size: int) -> Iterator[list[Key]]:
        for start in range(0, len(order), batch_size):
            end = min(start + batch_size, len(order))
            for first in range(start, end, CHUNK):
                part = slice(first, min(first + CHUNK, end))
                indices = order[part].tolist()
                drawn = [None] * len(indices) if seeds is None else seeds[part].tolist()
                yield [Key(split, number, seed) for number, seed in zip(indices, drawn, strict=True)]


class ImageBatches:
    """Batches of `images` on `device`, decoded by `workers` processes (0: by this one).

    The number of workers changes no pixel: every image has a seed of its own, drawn before the epoch begins. One pass
    at a time.
    """

    def __init__(self, images: ImageSet, batch_size: int, flip: bool, workers: int, device: torch.device) -> None:
        self.images, self.batch_size, self.device = images, batch_size, device
        self.labels = images.train_y.to(device)
        self._splits = {"train": images.train, "test": images.test} | ({"val": images.val} if images.val else {})
        self._normalise = Normalise(MEAN, STD, 255.0, device)
        self._chunks, self._passes = Chunks(), 0
        self._loader = DataLoader(
            Decoder(self._splits, images.image_size, flip),
            batch_sampler=self._chunks,
            collate_fn=_collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=AHEAD if workers else None,
            pin_memory=device.type == "cuda",
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # else it would draw from the run's, more often with fewer workers
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image as the model sees it."""
        return 3, self.images.image_size, self.images.image_size

    def num_batches(self, n: int) -> int:
        """Batches in an epoch over n examples; the last, incomplete one counts."""
        return -(-n // self.batch_size)

    def epoch(self, kept: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """As `Loader.epoch`. Raises UserError when it meets an image that cannot be decoded."""
        order = kept.cpu()[torch.randperm(len(kept), generator=generator)]
        seeds = torch.randint(2**63 - 1, (len(kept),), generator=generator)
        return self._batches("train", order, seeds, self.batch_size)

    def evaluation(self, split: str, batch_size: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Loader.evaluation`. Raises UserError when it meets an image that cannot be decoded."""
        if split not in self._splits:
            raise ValueError(f"{self.images.name} has no split {split!r}")
        order = torch.arange(len(self._splits[split].labels))
        return ((x, y) for x, y, _ in self._batches(split, order, None, batch_size))

    def _batches(
        self, split: str, order: Tensor, seeds: Tensor | None, batch_size: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        indices = order.to(self.device)
        labels = self.labels if split == "train" else self._splits[split].labels.to(self.device)
        start = 0
        for pixels in self._pixels(split, order, seeds, batch_size):
            part = indices[start : start + len(pixels)]
            start += len(pixels)
            yield self._normalise(pixels), labels[part], part

    def _pixels(self, split: str, order: Tensor, seeds: Tensor | None, batch_size: int) -> Iterator[Tensor]:
        """Batches of pixels, uint8 [B, H, W, 3]."""
        self._passes += 1
        this = self._passes
        self._chunks.split, self._chunks.order, self._chunks.seeds = split, order, seeds
        self._chunks.batch_size = batch_size
        parts: list[Tensor] = []
        left = len(order)
        for chunk in self._loader:
            if this != self._passes:
                break
            if isinstance(chunk, Unreadable):
                raise UserError(f"{chunk.path} cannot be decoded ({chunk.reason}): replace it, then go on")
            parts.append(chunk.to(self.device, non_blocking=True))
            if sum(map(len, parts)) == min(batch_size, left):
                batch = torch.cat(parts)
                left -= len(batch)
                parts = []
                yield batch
        if left:  # the workers serve another pass now
            raise RuntimeError("a pass over the images was begun before the last one ended")


def _collate(parts: Sequence[Tensor | Unreadable]) -> Tensor | Unreadable:
    images: list[Tensor] = []
    for part in parts:
        if isinstance(part, Unreadable):
            return part
        images.append(part)
    return torch.stack(images)


def _begin_worker(_: int) -> None:
    # Both may be sent to all processes of a job. The run says why it stops, unless a worker is seen to die of a signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if sys.platform == "linux":
        # A worker that outlives a killed run would hold the lock of its folder, and the run could not go on.
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
