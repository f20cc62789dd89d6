"""VGG-19 for small images, with batch norm: the network of GraSP and MEST (their `vgg_grasp.py`).

Sixteen 3x3 convolutions of Simonyan & Zisserman 2015, table 1 (E), and one linear layer in place of their three.
"""

from collections import OrderedDict

from torch import nn

from .base import BlockNet, widened

CHANNELS, DEPTHS = (64, 128, 256, 512, 512), (2, 2, 4, 4, 4)


class Vgg19(BlockNet):
    """Five stages of 64, 128, 256, 512, 512 channels times `width`, a 2x2 max pool after each but the last.

    A block is one convolution with its batch norm, ReLU and pool; there is no stem. Raises UserError if `width` leaves
    a stage without channels.
    """

    def __init__(self, width: float, num_classes: int, in_channels: int) -> None:
        channels = widened(CHANNELS, width)
        stages: list[list[nn.Module]] = []
        before = in_channels
        for after, depth in zip(channels, DEPTHS, strict=True):
            ends = [False] * (depth - 1) + [len(stages) < len(DEPTHS) - 1]
            stages.append([_block(after if k else before, after, pool) for k, pool in enumerate(ends)])
            before = after
        super().__init__(nn.Identity(), stages, before, num_classes)
        self.initialise()


def _block(channels_in: int, channels: int, pool: bool) -> nn.Module:
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
        bn=nn.BatchNorm2d(channels),
        relu=nn.ReLU(inplace=True),
    )
    if pool:
        parts["pool"] = nn.MaxPool2d(2, ceil_mode=True)  # so that images below 16x16 are not pooled to nothing
    return nn.Sequential(parts)
