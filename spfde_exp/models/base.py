"""A network as a chain of blocks, of which the first few can run without autograd."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class BlockNet(nn.Module):
    """`stem`, then `stage1`, `stage2`, ... (each a sequence of blocks), global average pool and `classifier`.

    A block is the unit of layer freezing (SpFDE section 4.2.1). The stem belongs to the first block; pooling
    and classifier belong to none, and are never frozen.
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
        """Blocks in the order of execution: name, and the names of the submodules that it holds."""
        return [(name, ["stem", name] if name == self._blocks[0] else [name]) for name in self._blocks]

    def forward(self, x: Tensor, frozen: int = 0) -> Tensor:
        """Logits [B, num_classes] of x [B, C, H, W]; the first `frozen` blocks run under no_grad.

        Nothing is stored for the backward pass of a frozen block. Whether its batch norms use running
        statistics is up to the caller (``eval()`` on the submodules). Raises ValueError if blocks are fewer.
        """
        if not 0 <= frozen <= len(self._blocks):
            raise ValueError(f"frozen={frozen}: the network has {len(self._blocks)} blocks")
        chain = [self.stem, *map(self.get_submodule, self._blocks)]
        prefix = frozen + 1 if frozen else 0  # the stem goes with the first block
        with torch.no_grad():
            for module in chain[:prefix]:
                x = module(x)
        for module in chain[prefix:]:
            x = module(x)
        # A mean, not AdaptiveAvgPool2d: that one's backward pass is not deterministic on CUDA.
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits
