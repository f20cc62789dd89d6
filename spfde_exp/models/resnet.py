"""Residual networks for small images: ResNet-(6n + 2) of He et al. 2016, section 4.2, with a width factor.

As in MEST and SpFDE, whose ResNet-32 has `width` 2 and 1.86 M parameters, a shortcut is a 1x1 convolution
with batch norm where stride or width changes, and the identity elsewhere.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.errors import UserError

from .base import BlockNet


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

    Convolutions start Kaiming-normal (fan out), the classifier N(0, 0.01) with zero bias. Raises UserError if
    `width` leaves a stage without channels.
    """

    def __init__(self, depth: int, width: float, num_classes: int, in_channels: int) -> None:
        channels = [math.floor(base * width + 0.5) for base in (16, 32, 64)]
        if channels[0] < 1:
            raise UserError(f"model.width={width} leaves no channels: it must be at least 1/32")
        stages = []
        before = channels[0]
        for after, stride in zip(channels, (1, 2, 2), strict=True):
            rest = [ResidualBlock(after, after, 1) for _ in range((depth - 2) // 6 - 1)]
            stages.append([ResidualBlock(before, after, stride), *rest])
            before = after
        super().__init__(Stem(in_channels, channels[0]), stages, before, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, 0.0, 0.01)
        nn.init.zeros_(self.classifier.bias)
