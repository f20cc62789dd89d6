"""A network as a chain of blocks, of which the first few can run without autograd."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from spfde_exp.errors import UserError


class BlockModel(nn.Module):
    """A network whose first blocks can be frozen: what training, planning and cost need of a model.

    A block is the unit of layer freezing (SpFDE section 4.2.1). What is in no block, the classifier, is never frozen.
    A subclass says which submodules make up each block, and what follows the last one.

    Attributes:
        chained: whether the blocks are all there is before `head`, so that the first of them can run alone.
    """

    chained: ClassVar[bool] = True

    def blocks(self) -> list[tuple[str, list[str]]]:
        """Blocks in the order of execution: name, and the names of the submodules that it runs, in order."""
        raise NotImplementedError

    def head(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes] of what the last block returns."""
        raise NotImplementedError

    def forward(self, x: Tensor, frozen: int = 0) -> Tensor:
        """Logits [B, num_classes] of x [B, C, H, W]; the first `frozen` blocks run under no_grad.

        Nothing is stored for the backward pass of a frozen block. Whether its batch norms use running
        statistics is up to the caller (``eval()`` on the submodules). Raises ValueError if blocks are fewer.
        """
        check_frozen(frozen, len(self.blocks()))
        with torch.no_grad():
            x = self.leading(x, frozen)
        return self.rest(x, frozen)

    def leading(self, x: Tensor, blocks: int) -> Tensor:
        """What the first `blocks` blocks make of images x [B, C, H, W]."""
        return self._run(self.blocks()[:blocks], x)

    def rest(self, x: Tensor, blocks: int) -> Tensor:
        """Logits [B, num_classes] of what the first `blocks` blocks return."""
        return self.head(self._run(self.blocks()[blocks:], x))

    def _run(self, blocks: Sequence[tuple[str, list[str]]], x: Tensor) -> Tensor:
        for _, members in blocks:
            for member in members:
                x = self.get_submodule(member)(x)
        return x


class BlockNet(BlockModel):
    """`stem`, then `stage1`, `stage2`, ... (each a sequence of blocks), global average pool and `classifier`.

    The stem belongs to the first block; pooling and classifier belong to none.
    """

    def __init__(self, stem: nn.Module, stages: Sequence[Sequence[nn.Module]], features: int, num_classes: int) -> None:
        super().__init__()
        self.stem = stem
        self._blocks: list[str] = []
        for number, stage in enumerate(stages, start=1):
            self.add_module(f"stage{number}", nn.Sequential(*stage))
            self._blocks += [f"stage{number}.{index}" for index in range(len(stage))]
        self.classifier = nn.Linear(features, num_classes)

    def blocks(self) -> list[tuple[str, list[str]]]:
        return [(name, ["stem", name] if name == self._blocks[0] else [name]) for name in self._blocks]

    def head(self, x: Tensor) -> Tensor:
        # A mean, not AdaptiveAvgPool2d: that one's backward pass is not deterministic on CUDA.
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits

    def initialise(self) -> None:
        """Convolutions Kaiming-normal (fan out), the classifier N(0, 0.01) with zero bias, as in the MEST code."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, 0.0, 0.01)
        nn.init.zeros_(self.classifier.bias)


def check_frozen(frozen: int, blocks: int) -> None:
    """Raises ValueError unless `frozen` of so many blocks can be frozen."""
    if not 0 <= frozen <= blocks:
        raise ValueError(f"frozen={frozen}: the network has {blocks} blocks")


def widened(channels: Sequence[int], width: float) -> list[int]:
    """`channels` times `width`, halves rounded up.

    Raises:
        UserError: a layer would have no channels.
    """
    answer = [math.floor(base * width + 0.5) for base in channels]
    if min(answer) < 1:
        raise UserError(f"model.width={width} leaves no channels: it must be at least 1/{2 * min(channels)}")
    return answer
