"""ResNet-18, -34 and -50 as torchvision has them, with its names and initial values of the weights.

Imported only when one is built: importing torchvision takes as long as importing torch.
"""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from .base import BlockModel

LAYOUTS = {18: (BasicBlock, [2, 2, 2, 2]), 34: (BasicBlock, [3, 4, 6, 3]), 50: (Bottleneck, [3, 4, 6, 3])}


class TorchvisionResNet(BlockModel, ResNet):
    """torchvision's ResNet of `depth`, run block by block; its state_dict fits torchvision's models and weights.

    A block is a residual block (SpFDE Table A5: 16 in ResNet-50); the first convolution, its batch norm and the max
    pool belong to the first.

    Args:
        small: for images of 32x32, a first convolution of 3x3 and stride 1, and no max pool (the usual ResNet-50 for
            CIFAR; MEST Table K.1).
    """

    def __init__(self, depth: int, num_classes: int, in_channels: int, small: bool = False) -> None:
        block, layers = LAYOUTS[depth]
        ResNet.__init__(self, block, layers, num_classes=num_classes)
        if small or in_channels != 3:
            size, stride = (3, 1) if small else (7, 2)
            self.conv1 = nn.Conv2d(in_channels, 64, size, stride, padding=size // 2, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        if small:
            self.maxpool = nn.Identity()

    def blocks(self) -> list[tuple[str, list[str]]]:
        names = [
            f"layer{n}.{index}" for n in (1, 2, 3, 4) for index, _ in self.get_submodule(f"layer{n}").named_children()
        ]
        stem = ["conv1", "bn1", "relu", "maxpool"]
        return [(name, [*stem, name] if index == 0 else [name]) for index, name in enumerate(names)]

    def head(self, x: Tensor) -> Tensor:
        logits: Tensor = self.get_submodule("fc")(x.mean((2, 3)))
        return logits
