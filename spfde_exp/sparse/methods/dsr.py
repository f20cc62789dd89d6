"""DSR, dynamic sparse reparameterisation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spfde_exp.sparse.methods.base import Step
from spfde_exp.sparse.methods.rewiring import Rewiring, apportion, at_random, largest

if TYPE_CHECKING:
    from torch import Tensor

BAND = 0.1  # by which the number of pruned weights may miss what is wanted before the threshold moves


class Dsr(Rewiring):
    """Weights below one threshold for all layers go; as many grow at random, most where most survived.

    The threshold halves where more than 1.1 times the wanted number went, and doubles where it was less than 0.9
    times; wanted is the share `drop` of the kept weights. Just-pruned positions do not grow. A layer keeps at least
    one weight. Layers' densities change.
    """

    name = "dsr"
    title = "DSR"
    reference = "Mostafa & Wang, DSR, ICML 2019"
    reads = ("init", "drop", "every_steps", "phases", "until", "threshold")
    own_densities = True

    limit: float | None = None  # the threshold, once it has moved

    def repeats(self, step: Step) -> bool:
        return not self.due_at_step(step)

    def stepped(self, step: Step, layers: Sequence[str]) -> bool:
        if not layers or not self.due_at_step(step):
            return False
        assert self.config.drop is not None and self.config.threshold is not None
        limit = self.config.threshold if self.limit is None else self.limit
        before = sum(self.masks.count(layer) for layer in layers)
        stay: dict[str, Tensor] = {}
        for layer in layers:
            size, kept = self.masks.weights[layer].detach().abs(), self.masks.kept[layer]
            stay[layer] = kept & (size >= limit)
            if not bool(stay[layer].any()):
                stay[layer] = largest(size, kept, 1)
        survivors = [int(stay[layer].sum()) for layer in layers]
        pruned, wanted = before - sum(survivors), self.config.drop * before
        self.limit = limit / 2 if pruned > (1 + BAND) * wanted else limit * 2 if pruned < (1 - BAND) * wanted else limit
        empty = [~self.masks.kept[layer] for layer in layers]
        counts = apportion(pruned, survivors, [int(free.sum()) for free in empty])
        if sum(counts) < pruned:  # nearly dense layers: pruned positions have to come back
            empty = [~stay[layer] for layer in layers]
            counts = apportion(pruned, survivors, [int(free.sum()) for free in empty])
        for index, (layer, free, count) in enumerate(zip(layers, empty, counts, strict=True)):
            generator = self.generator("structure", "step", step.count, index)
            self.renew(layer, stay[layer], at_random(free, count, generator))
        return True

    def metrics(self) -> dict[str, float]:
        assert self.config.threshold is not None
        return {"dsr_threshold": self.config.threshold if self.limit is None else self.limit}

    def state_dict(self) -> dict[str, Any]:
        return {"limit": self.limit}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.limit = state["limit"]
