"""RigL, and RigL with in-time over-parameterisation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spfde_exp.sparse.methods.base import Step
from spfde_exp.sparse.methods.rewiring import Rewiring, largest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spfde_exp.sparse.saliency import Examples


class Rigl(Rewiring):
    """Every `every_steps` the smallest weights of a layer go, and grow where the dense gradient is largest.

    The update takes the place of the optimiser's step, as in the authors' code. A position that is dropped and grown
    at once keeps its value; a newly active weight starts at zero, with zero momentum.
    """

    name = "rigl"
    title = "RigL"
    reference = "Evci et al., RigL, ICML 2020"
    dense_gradients = True
    reads = ("init", "drop", "decay", "every_steps", "until")
    footprint = "dense_gradients"

    def needs_dense_gradients(self, step: Step) -> bool:
        return self.due_at_step(step)

    def repeats(self, step: Step) -> bool:
        return not self.due_at_step(step)

    def gradients(self, step: Step, layers: Sequence[str]) -> bool:
        if not layers or not self.due_at_step(step):
            return False
        share = self.fraction(step.epoch + step.index / step.steps)
        for layer in layers:
            gradient = self.masks.weights[layer].grad
            assert gradient is not None
            self.exchange(layer, int(share * self.masks.count(layer)), gradient)
        return True

    def exchange(self, layer: str, count: int, gradient: "Tensor") -> None:
        """Drop the `count` smallest weights of `layer`, and grow as many where `gradient` is largest."""
        weight, kept = self.masks.weights[layer].detach(), self.masks.kept[layer]
        stay = largest(weight.abs(), kept, self.masks.count(layer) - count)
        self.masks.replace(layer, stay | largest(gradient.abs(), ~stay, count))


class RiglItop(Rigl):
    """RigL with few, large updates to the end of training; logs how much of the network has ever been active.

    The update follows the optimiser's step, by the gradients of that step, as in the authors' code. `itop_rate` in
    metrics.jsonl is the share of all maskable weights that was in any mask so far (R_s).
    """

    name = "rigl_itop"
    title = "RigL-ITOP"
    reference = "Liu et al., In-Time Over-Parameterization, ICML 2021"
    least = 0.005

    seen: "dict[str, Tensor]"  # which weights were in any mask so far
    dense: "dict[str, Tensor]"  # gradients of the step before an update

    def draw(self, model: "nn.Module", examples: "Examples") -> None:
        super().draw(model, examples)
        self.seen = {layer: kept.clone() for layer, kept in self.masks.kept.items()}

    def gradients(self, step: Step, layers: Sequence[str]) -> bool:
        if self.due_at_step(step):  # the optimiser is about to mask them
            gradients = ((layer, self.masks.weights[layer].grad) for layer in layers)
            self.dense = {layer: gradient.clone() for layer, gradient in gradients if gradient is not None}
        return False

    def stepped(self, step: Step, layers: Sequence[str]) -> bool:
        if self.due_at_step(step):
            share = self.fraction(step.epoch + step.index / step.steps)
            for layer, gradient in self.dense.items():
                self.exchange(layer, int(share * self.masks.count(layer)), gradient)
                self.seen[layer] |= self.masks.kept[layer]
            self.dense = {}
        return False

    def metrics(self) -> dict[str, float]:
        total = sum(seen.numel() for seen in self.seen.values())
        return {"itop_rate": sum(int(seen.sum()) for seen in self.seen.values()) / total}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.seen)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = {layer: state[layer].to(kept.device) for layer, kept in self.masks.kept.items()}
