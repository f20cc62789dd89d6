"""How large the gradients of each layer and block are (SpFDE Figure 3 (b))."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

from spfde_exp.cost.layers import Layer


class GradientNorms:
    """Mean over the steps of an epoch of the gradients' Euclidean norms, as the optimiser sees them: masked.

    A layer's is that of its weight; a block's that of the weights of all its layers together. Nothing is waited for
    within a step.
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[Layer], blocks: Sequence[str], optimizer: torch.optim.Optimizer
    ) -> None:
        """Watch the steps of `optimizer`; masks must be attached to it already."""
        self.layers, self.blocks = [layer.name for layer in layers], list(blocks)
        self.weights = [model.get_submodule(name).get_parameter("weight") for name in self.layers]
        self.block_of = [layer.block for layer in layers]
        device = self.weights[0].device
        inside = [[float(block == of) for block in range(len(blocks))] for of in self.block_of]
        self.inside = torch.tensor(inside, dtype=torch.float64, device=device)
        self.sums = torch.zeros(len(layers) + len(blocks), dtype=torch.float64, device=device)
        self.steps: Counter[int] = Counter()  # place in `sums` -> steps
        optimizer.register_step_pre_hook(lambda *_: self.observe())

    @torch.no_grad()
    def observe(self) -> None:
        """Count one step; a frozen layer has no gradient, and takes no part."""
        gradients = {i: w.grad for i, w in enumerate(self.weights) if w.grad is not None}
        norms = dict(zip(gradients, torch._foreach_norm(list(gradients.values())), strict=True))
        rest = torch.zeros((), device=self.sums.device)
        squares = torch.stack([norms.get(i, rest) for i in range(len(self.weights))]).double().square()
        self.sums += torch.cat([squares, squares @ self.inside]).sqrt()
        blocks = {len(self.layers) + block for i in gradients if (block := self.block_of[i]) is not None}
        self.steps.update([*gradients, *blocks])

    def take(self) -> dict[str, dict[str, float]]:
        """Means since the last call: ``layers`` and ``blocks``, name -> norm, without what was frozen all the time."""
        sums, first = self.sums.tolist(), len(self.layers)
        means = {place: sums[place] / steps for place, steps in sorted(self.steps.items())}
        self.sums.zero_()
        self.steps.clear()
        return {
            "layers": {self.layers[place]: mean for place, mean in means.items() if place < first},
            "blocks": {self.blocks[place - first]: mean for place, mean in means.items() if place >= first},
        }
