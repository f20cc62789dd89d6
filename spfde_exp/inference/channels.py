"""Some of a tensor's channels: read, or added to."""

import copy

import torch
from torch import Tensor, nn

Layer = nn.Conv2d | nn.Linear

# With channels last, they are the columns of a matrix; torch takes columns five to ten times as fast as it takes
# channels of an image, which it believes to be far apart.


class ReadChannels(nn.Module):
    """The channels `index` (int64 [k]) of x [B, C, H, W], as [B, k, H, W], channels last."""

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        taken = rows.flatten(0, 2).index_select(1, self.index)
        return taken.unflatten(0, rows.shape[:3]).permute(0, 3, 1, 2)


class AddChannels(nn.Module):
    """Adds y [B, k, H, W] to the channels `index` (int64 [k], each once) of x [B, C, H, W], in place.

    `constant` [C] is added everywhere; None for nothing.
    """

    index: Tensor
    constant: Tensor | None

    def __init__(self, index: Tensor, constant: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        if self.constant is not None:
            rows.add_(self.constant)
        rows.index_add_(3, self.index, y.permute(0, 2, 3, 1).to(x.dtype))
        return x


def resized(layer: Layer, weight: Tensor, bias: Tensor | None, groups: int = 1) -> Layer:
    """`layer` with other sizes: its `weight` [filters, channels, ...] and `bias` [filters] in place of its own."""
    smaller = copy.deepcopy(layer)
    if isinstance(smaller, nn.Conv2d):
        smaller.out_channels, smaller.in_channels, smaller.groups = len(weight), groups * weight.shape[1], groups
        weight = weight.contiguous(memory_format=torch.channels_last)
    else:
        smaller.out_features, smaller.in_features = weight.shape
    smaller.weight = nn.Parameter(weight, requires_grad=False)
    smaller.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return smaller
