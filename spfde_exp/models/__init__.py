"""What is trained: networks made of named blocks that can be frozen in order, and a classifier."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from spfde_exp.errors import UserError
from spfde_exp.schema import Model

from .base import BlockModel, BlockNet
from .mobilenet import MobileNetV2
from .resnet import ResNet
from .vgg import Vgg19

__all__ = ["BUILDERS", "NAMES", "BlockModel", "BlockNet", "Blueprint", "ResNet", "blueprint", "build"]

CUSTOM = "custom"


def _torchvision(depth: int, small: bool, width: float, num_classes: int, in_channels: int) -> BlockModel:
    if width != 1:
        raise UserError(f"model.width={width:g} is impossible: torchvision's ResNet-{depth} has width 1 only")
    from .imagenet import TorchvisionResNet

    return TorchvisionResNet(depth, num_classes, in_channels, small)


# name -> builder(width, num_classes, in_channels)
BUILDERS: dict[str, Callable[[float, int, int], BlockModel]] = {
    **{f"resnet{depth}": partial(ResNet, depth) for depth in (14, 20, 32, 56, 110)},
    "vgg19": Vgg19,
    "mobilenet_v2": MobileNetV2,
    "resnet50_cifar": partial(_torchvision, 50, True),
    **{f"resnet{depth}": partial(_torchvision, depth, False) for depth in (18, 34, 50)},
}
NAMES = tuple(BUILDERS)


def build(name: str, width: float, num_classes: int, in_channels: int) -> BlockModel:
    """A network freshly initialised from torch's global generator; `width` multiplies every layer's channels.

    Raises UserError for a name that is not in NAMES, and for a width that the network does not have.
    """
    if name not in BUILDERS:
        raise UserError(f"there is no model {name!r}: choose one of {', '.join([*BUILDERS, CUSTOM])}")
    return BUILDERS[name](width, num_classes, in_channels)


@dataclass(frozen=True)
class Blueprint:
    """All that decides what network is built, for comparison.

    Attributes:
        name, width: as in the configuration.
        make: what stands for the name at present: a builder, or a user's own callable.
        kwargs, blocks: of a user's own, as JSON.
    """

    name: str
    width: float
    make: Callable[..., Any] | None
    kwargs: str
    blocks: str

    def build(self, num_classes: int, shape: Sequence[int]) -> BlockModel:
        """The network for images of `shape` (C, H, W), initialised from torch's global generator.

        Raises:
            UserError: it cannot be built so.
        """
        if self.name != CUSTOM:
            return build(self.name, self.width, num_classes, shape[0])
        from .custom import build_custom

        assert self.make is not None
        return build_custom(self.make, json.loads(self.kwargs), json.loads(self.blocks), num_classes, shape)


def blueprint(model: Model) -> Blueprint:
    """The blueprint of a configured model. A user's own is imported.

    Raises:
        UserError: a model of one's own that is not allowed, or not there.
    """
    make: Callable[..., Any] | None = BUILDERS.get(model.name)
    if model.name == CUSTOM:
        from .custom import find_callable

        make = find_callable(str(model.target), model.allow)
    return Blueprint(model.name, model.width, make, json.dumps(model.kwargs), json.dumps(model.blocks))
