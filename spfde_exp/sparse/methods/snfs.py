"""SNFS, sparse networks from scratch (sparse momentum)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spfde_exp.sparse.methods.base import Step
from spfde_exp.sparse.methods.rewiring import Rewiring, apportion, largest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spfde_exp.sparse.saliency import Examples

SMOOTHING = 0.9  # of the gradients; the authors take the optimiser's momentum, here masked like the weights
DENSEST = 0.99  # a layer never grows beyond


class Snfs(Rewiring):
    """At the end of each epoch the smallest weights go, and grow where smoothed gradients are largest.

    Every layer drops the same share. Growth is shared out in proportion to the mean smoothed gradient of a layer's
    kept weights, so that layers' densities change. The smoothed gradients are dense: memory and FLOPs of the weight
    gradients are a dense network's.
    """

    name = "snfs"
    reference = "Dettmers & Zettlemoyer, SNFS, 2019"
    own_densities = True

    momentum: "dict[str, Tensor]"

    def draw(self, model: "nn.Module", examples: "Examples") -> None:
        super().draw(model, examples)
        weights = self.masks.weights.items()
        self.momentum = {layer: weight.detach().new_zeros(weight.shape) for layer, weight in weights}

    def needs_dense_gradients(self, step: Step) -> bool:
        return step.epoch < self.end

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
        share = self.fraction(epoch)
        stay: dict[str, Tensor] = {}
        for layer in layers:
            weight, kept = self.masks.weights[layer].detach(), self.masks.kept[layer]
            count = int(kept.sum())
            stay[layer] = largest(weight.abs(), kept, count - int(share * count))
        dropped = sum(self.masks.count(layer) - int(mask.sum()) for layer, mask in stay.items())
        means = [float(self.momentum[layer][stay[layer]].abs().double().mean()) for layer in layers]
        # At least what a layer dropped fits into it again, however dense it is.
        most = [max(int(DENSEST * stay[layer].numel()), self.masks.count(layer)) for layer in layers]
        room = [full - int(stay[layer].sum()) for full, layer in zip(most, layers, strict=True)]
        for layer, count in zip(layers, apportion(dropped, means, room), strict=True):
            grown = largest(self.momentum[layer].abs(), ~stay[layer], count)
            self.masks.replace(layer, stay[layer] | grown)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.momentum)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.momentum = {layer: state[layer].to(kept.device) for layer, kept in self.masks.kept.items()}
