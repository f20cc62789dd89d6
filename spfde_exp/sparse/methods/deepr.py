"""DeepR, deep rewiring."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spfde_exp.sparse.methods.base import Step
from spfde_exp.sparse.methods.rewiring import Rewiring, at_random

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spfde_exp.sparse.saliency import Examples


class Deepr(Rewiring):
    """Every step is SGD with an L1 penalty and noise; a weight that changes its sign goes, and one grows at random.

    Each position has a fixed sign (algorithm 1 of the paper). The noise has the variance 2 x learning rate x
    `temperature`. Just-pruned positions do not grow. A layer that a distribution makes dense has nowhere to grow: it
    gets no noise, and stays. The penalty `l1` takes the place of the weight decay of masked layers, to the end of
    training.
    """

    name = "deepr"
    title = "DeepR"
    reference = "Bellec et al., Deep Rewiring, ICLR 2018"
    reads = ("init", "temperature", "phases", "l1", "until")

    signs: "dict[str, Tensor]"  # +1 or -1, int8

    def draw(self, model: "nn.Module", examples: "Examples") -> None:
        super().draw(model, examples)
        self.signs = {}
        for index, (layer, weight) in enumerate(self.masks.weights.items()):
            kept = self.masks.kept[layer]
            up = self.masks.uniform(layer, self.generator("signs", index)).view(kept.shape) < 0.5
            self.signs[layer] = 2 * (kept & (weight.detach() >= 0) | ~kept & up).char() - 1

    def gradients(self, step: Step, layers: Sequence[str]) -> bool:
        assert self.config.l1 is not None
        for layer in layers:
            weight = self.masks.weights[layer]
            assert weight.grad is not None
            weight.grad.add_(weight.detach().sign(), alpha=self.config.l1)
            weight.grad.sub_(weight.detach(), alpha=step.weight_decay)  # the optimiser is about to add it
        return False

    def stepped(self, step: Step, layers: Sequence[str]) -> bool:
        if step.epoch >= self.end:
            return False
        deviation = math.sqrt(2 * step.lr * self.in_phase(self.config.temperature, step.epoch))
        for index, layer in enumerate(self.masks.kept):
            if layer in layers:
                generator = self.generator("structure", "step", step.count, index)
                weight, kept = self.masks.weights[layer].detach(), self.masks.kept[layer]
                places = kept.nonzero(as_tuple=True)
                if len(places[0]) == kept.numel():
                    continue
                noise = weight.new_empty(len(places[0]), device="cpu").normal_(0, deviation, generator=generator)
                weight.index_put_(places, noise.to(weight.device), accumulate=True)
                gone = weight * self.signs[layer] < 0
                if count := int(gone.sum()):
                    grown = at_random(~kept, count, generator)
                    if left := count - int(grown.sum()):  # nowhere else is room
                        grown |= at_random(gone, left, generator)
                    self.renew(layer, kept & ~gone, grown)
        return False

    def state_dict(self) -> dict[str, Any]:
        return dict(self.signs)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.signs = {layer: state[layer].to(kept.device) for layer, kept in self.masks.kept.items()}
