"""What is trained: networks made of a stem, named blocks that can be frozen in order, and a classifier."""

from collections.abc import Callable
from functools import partial

from spfde_exp.errors import UserError

from .base import BlockNet
from .resnet import ResNet

__all__ = ["BUILDERS", "NAMES", "BlockNet", "ResNet", "build"]

# name -> builder(width, num_classes, in_channels)
BUILDERS: dict[str, Callable[[float, int, int], BlockNet]] = {
    f"resnet{depth}": partial(ResNet, depth) for depth in (14, 20, 32, 56, 110)
}
NAMES = tuple(BUILDERS)


def build(name: str, width: float, num_classes: int, in_channels: int) -> BlockNet:
    """A network freshly initialised from torch's global generator; `width` multiplies every layer's channels.

    Raises UserError for a name that is not in NAMES.
    """
    if name not in BUILDERS:
        raise UserError(f"there is no model {name!r}: choose one of {', '.join(NAMES)}")
    return BUILDERS[name](width, num_classes, in_channels)
