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
    reference = "Evci et al., RigL, ICML 2020"
    reads = ("init", "drop", "decay", "every_steps", "until")

    def needs_dense_gradients(self, step: Step) -> bool:
        return self.due_at_step(step)

    def gradients(self, step: Step, layers: Sequence[str]) -> bool:
        if not layers or not self.due_at_step(step):
            return False
        share = self.fraction(step.epoch + step.index / step.steps)
        for layer in layers:
            weight, kept = self.masks.weights[layer], self.masks.kept[layer]
            assert weight.grad is not None
            count = int(kept.sum())
            dropped = int(share * count)
            stay = largest(weight.detach().abs(), kept, count - dropped)
            self.masks.replace(layer, stay | largest(weight.grad.abs(), ~stay, dropped))
        return True


class RiglItop(Rigl):
    """RigL with few, large updates to the end of training; logs how much of the network has ever been active.

    `itop_rate` in metrics.jsonl is the share of all maskable weights that was in any mask so far (R_s).
    """

    name = "rigl_itop"
    reference = "Liu et al., In-Time Over-Parameterization, ICML 2021"

    def draw(self, model: "nn.Module", examples: "Examples") -> None:
        super().draw(model, examples)
        self.seen: dict[str, Tensor] = {layer: kept.clone() for layer, kept in self.masks.kept.items()}

    def gradients(self, step: Step, layers: Sequence[str]) -> bool:
        changed = super().gradients(step, layers)
        if changed:
            for layer in layers:
                self.seen[layer] |= self.masks.kept[layer]
        return changed

    def metrics(self) -> dict[str, float]:
        total = sum(seen.numel() for seen in self.seen.values())
        return {"itop_rate": sum(int(seen.sum()) for seen in self.seen.values()) / total}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.seen)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = {layer: state[layer].to(kept.device) for layer, kept in self.masks.kept.items()}
