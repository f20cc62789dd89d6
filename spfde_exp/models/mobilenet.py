"""MobileNet-V2 of Sandler et al. 2018, table 2, in its usual form for 32x32 images.

The form is that of kuangliu/pytorch-cifar: stem and 24-channel stage have stride 1 instead of 2, so that the maps
end at 4x4; every block of stride 1 has a shortcut, a 1x1 convolution with batch norm where the width changes; plain
ReLU. Only so has it the 57 convolutions and 2.30 M parameters that MEST (appendix I, Table I.2) tells of its own.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .base import BlockNet, widened
from .resnet import Stem

STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Module):
    """1x1 convolution to `expansion` times the channels, 3x3 depthwise, 1x1 back, each with batch norm."""

    def __init__(self, channels_in: int, channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = expansion * channels_in
        self.expand = nn.Conv2d(channels_in, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential() if stride == 1 else None  # the identity
        if self.shortcut is not None and channels_in != channels:
            self.shortcut.add_module("conv", nn.Conv2d(channels_in, channels, 1, bias=False))
            self.shortcut.add_module("bn", nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.expand(x)), inplace=True)
        out = F.relu(self.bn2(self.depthwise(out)), inplace=True)
        out = self.bn3(self.project(out))
        return out if self.shortcut is None else out + self.shortcut(x)


class MobileNetV2(BlockNet):
    """Seventeen inverted residuals and the last 1x1 convolution, a block each; all channels times `width`.

    Raises UserError if `width` leaves a layer without channels.
    """

    def __init__(self, width: float, num_classes: int, in_channels: int) -> None:
        first, *channels, last = widened((32, *(stage[1] for stage in STAGES), 1280), width)
        stages: list[list[nn.Module]] = []
        before = first
        for (expansion, _, depth, stride), after in zip(STAGES, channels, strict=True):
            rest = [InvertedResidual(after, after, expansion, 1) for _ in range(depth - 1)]
            stages.append([InvertedResidual(before, after, expansion, stride), *rest])
            before = after
        head = nn.Sequential(nn.Conv2d(before, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU(inplace=True))
        super().__init__(Stem(in_channels, first), [*stages, [head]], last, num_classes)
        self.initialise()
