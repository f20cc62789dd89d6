"""SNFS, sparse networks from scratch (sparse momentum)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spfde_exp.sparse.methods.base import Step
from spfde_exp.sparse.methods.rewiring import Rewiring, apportion, largest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spfde_exp.sparse.saliency import Examples

SMOOTHING = 0.9  # of the gradients; the authors take the optimiser's momentum, here masked like the weights
FULLEST = 0.99  # share of a layer's empty positions that grow at most
NEARLY_DENSE = 0.2  # share of zeros below which a layer that is growing drops no more than this share


class Snfs(Rewiring):
    """At the end of each epoch the smallest weights go, and grow where smoothed gradients are largest.

    Every layer drops the same share, but nearly dense ones. Growth is shared out in proportion to the mean magnitude
    of the smoothed gradients of a layer's kept weights, so that layers' densities change. A position that is dropped
    and grown at once keeps its value. The smoothed gradients are dense: memory and FLOPs of the weight gradients are a
    dense network's.
    """

    name = "snfs"
    title = "SNFS"
    reference = "Dettmers & Zettlemoyer, SNFS, 2019"
    own_densities = True
    dense_gradients = True
    least = 0.005
    footprint = "dense_gradients"

    momentum: "dict[str, Tensor]"

    def draw(self, model: "nn.Module", examples: "Examples") -> None:
        super().draw(model, examples)
        weights = self.masks.weights.items()
        self.momentum = {layer: weight.detach().clone().zero_() for layer, weight in weights}

    def needs_dense_gradients(self, step: Step) -> bool:
        return step.epoch < self.end

    def repeats(self, step: Step) -> bool:
        return step.epoch >= self.end

    def gradients(self, step: Step, layers: Sequence[str]) -> bool:
        if step.epoch < self.end:
            for layer in layers:
                gradient = self.masks.weights[layer].grad
                assert gradient is not None
                self.momentum[layer].lerp_(gradient, 1 - SMOOTHING)
        return False

    def start_epoch(self, epoch: int, layers: Sequence[str]) -> None:
        if not layers or not self.due_at_epoch(epoch):
            return
        momentum, kept = self.momentum, self.masks.kept
        means = [float(momentum[layer][kept[layer]].abs().double().mean()) for layer in layers]
        stay: dict[str, Tensor] = {}
        room, dropped = [], 0
        for layer, mean in zip(layers, means, strict=True):
            count, sparsity = self.masks.count(layer), 1 - self.masks.count(layer) / kept[layer].numel()
            share = self.fraction(epoch)
            if sparsity < NEARLY_DENSE and mean * len(means) > sum(means):
                share = min(share, sparsity)
            left = count - int(share * count)
            stay[layer] = largest(self.masks.weights[layer].detach().abs(), kept[layer], left)
            # At least what a layer dropped fits into it again, however dense it is.
            room.append(max(int(FULLEST * (kept[layer].numel() - left)), count - left))
            dropped += count - left
        for layer, count in zip(layers, apportion(dropped, means, room), strict=True):
            self.masks.replace(layer, stay[layer] | largest(momentum[layer].abs(), ~stay[layer], count))

    def state_dict(self) -> dict[str, Any]:
        return dict(self.momentum)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.momentum = {layer: state[layer].to(kept.device) for layer, kept in self.masks.kept.items()}
