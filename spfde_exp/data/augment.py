"""Random crop and horizontal flip of whole batches on the device, from a uint8 set that stays there.

The augmentation of both papers' CIFAR recipes: a border of zero pixels, a random crop of the original size, a
flip with probability 1/2, then normalisation.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Crop offsets `top` and `left` and the `flip` (0 or 1) of n examples, int64 [n]; slice for a batch."""

    top: Tensor
    left: Tensor
    flip: Tensor

    def __getitem__(self, part: slice) -> "Draws":
        return Draws(self.top[part], self.left[part], self.flip[part])

    def to(self, device: torch.device | str) -> "Draws":
        return Draws(self.top.to(device), self.left.to(device), self.flip.to(device))


class Normalise:
    """From pixels to what a model sees: divided by `scale`, then normalised with `mean` and `std` per channel."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], scale: float, device: torch.device | str
    ) -> None:
        deviation = torch.tensor(std, dtype=torch.float64)
        self._factor = (1 / (scale * deviation)).to(device, torch.float32)
        self._shift = (-torch.tensor(mean, dtype=torch.float64) / deviation).to(device, torch.float32)

    def __call__(self, pixels: Tensor) -> Tensor:
        """float32 [B, C, H, W], channels last, of uint8 [B, H, W, C]."""
        return torch.addcmul(self._shift, pixels.float(), self._factor).permute(0, 3, 1, 2)


class Augment:
    """Augments examples of `x`, uint8 [N, C, H, W], on the device of `x`.

    `pad` is the border in pixels (0: no crop), `flip` whether half of the images are mirrored; for the rest see
    Normalise.
    """

    def __init__(
        self, x: Tensor, mean: tuple[float, ...], std: tuple[float, ...], scale: float, pad: int, flip: bool
    ) -> None:
        self.pad = pad
        self.flip = flip
        # Channels last: a gather then moves whole pixels, and its result has the layout that convs want.
        self._padded = F.pad(x, (pad, pad, pad, pad)).permute(0, 2, 3, 1).contiguous()
        self._rows = torch.arange(x.shape[2], device=x.device)
        self._cols = torch.arange(x.shape[3], device=x.device)
        self._normalise = Normalise(mean, std, scale, x.device)

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """Draws for n examples, on the CPU from a CPU generator, so that they are equal for every device."""
        top, left = torch.randint(2 * self.pad + 1, (2, n), generator=generator)
        flip = torch.randint(2, (n,), generator=generator) if self.flip else torch.zeros(n, dtype=torch.int64)
        return Draws(top, left, flip)

    def batch(self, indices: Tensor, draws: Draws) -> Tensor:
        """Augmented float32 [B, C, H, W], channels last; `indices` int64 [B] and `draws` on the device."""
        rows = draws.top[:, None] + self._rows
        # A mirrored image is read backwards from its right edge.
        first = torch.add(draws.left, draws.flip, alpha=len(self._cols) - 1)
        step = 1 - 2 * draws.flip
        cols = torch.addcmul(first[:, None], step[:, None], self._cols)
        pixels = self._padded[indices[:, None, None], rows[:, :, None], cols[:, None, :]]
        return self._normalise(pixels)

    def normalise(self, x: Tensor) -> Tensor:
        """float32 [B, C, H, W], channels last, of uint8 [B, C, H, W], not augmented."""
        return self._normalise(x.permute(0, 2, 3, 1).contiguous())
