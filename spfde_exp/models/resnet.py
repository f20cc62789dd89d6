"""Residual networks for small images: ResNet-(6n + 2) of He et al. 2016, section 4.2, with a width factor.

As in MEST and SpFDE, whose ResNet-32 has `width` 2 and 1.86 M parameters, a shortcut is a 1x1 convolution
with batch norm where stride or width changes, and the identity elsewhere.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .base import BlockNet, widened


class Stem(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut; ReLU after the first and after the sum."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()  # the identity
        if stride != 1 or channels_in != channels:
            self.shortcut.add_module("conv", nn.Conv2d(channels_in, channels, 1, stride, bias=False))
            self.shortcut.add_module("bn", nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class ResNet(BlockNet):
    """ResNet of `depth` 6n + 2: three stages of n blocks, 16, 32, 64 channels times `width`, strides 1, 2, 2.

    Raises UserError if `width` leaves a stage without channels.
    """

    def __init__(self, depth: int, width: float, num_classes: int, in_channels: int) -> None:
        channels = widened((16, 32, 64), width)
        stages = []
        before = channels[0]
        for after, stride in zip(channels, (1, 2, 2), strict=True):
            rest = [ResidualBlock(after, after, 1) for _ in range((depth - 2) // 6 - 1)]
            stages.append([ResidualBlock(before, after, stride), *rest])
            before = after
        super().__init__(Stem(in_channels, channels[0]), stages, before, num_classes)
        self.initialise()
