"""MEST (vanilla), Yuan et al., NeurIPS 2021, section 3.2."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spfde_exp.errors import UserError
from spfde_exp.sparse.methods.base import Method
from spfde_exp.sparse.schedule import SparsitySchedule, Update, build_schedule, mutation_epochs

if TYPE_CHECKING:
    from torch import Tensor


class Mest(Method):
    """Remove the least important weights and grow as many at random, at a constant mutation ratio.

    Prunes to s + p, then grows to s: the sparsity that is trained never falls below the target. Under a structured
    scheme, whole units are removed and grown (MEST appendix D).
    """

    name = "mest"
    title = "MEST (vanilla)"
    reference = "Yuan et al., MEST, NeurIPS 2021"
    dynamic = True
    uses_dst = True
    reads = ("init", "p", "importance_lambda")
    schemes = ()
    decay = 1.0  # factor on p at each milestone

    @classmethod
    def mutation_ratio(cls, target: float, p: Any) -> float:
        ratio = round(0.2 * (1 - target), 10) if p == "auto" else round(float(p), 10)
        if ratio >= round(1 - target, 10):
            raise UserError(
                f"method.p={ratio:g} would remove every weight at sparsity={target:g}; "
                f"allowed for {cls.name}: auto, or a number below {1 - target:.6g}"
            )
        return ratio

    @classmethod
    def mutation(cls, target: float, p: float) -> Update:
        """The update at mutation ratio `p` (MEST algorithm 1)."""
        return Update(round(target + p, 10), target)

    @classmethod
    def schedule(
        cls, epochs: int, target: float, p: Any, every: int, milestones: list[int], stop: int
    ) -> SparsitySchedule:
        ratio = cls.mutation_ratio(target, p)
        updates = {
            epoch: cls.mutation(target, ratio * cls.decay**passed)
            for epoch, passed in mutation_epochs(every, milestones, stop).items()
        }
        return build_schedule(epochs, target, updates)

    def start_epoch(self, epoch: int, layers: Sequence[str]) -> None:
        if (update := self.plan.updates.get(epoch)) is None:
            return
        for index, layer in enumerate(self.masks.kept):
            if layer in layers:
                self.masks.prune_to(layer, update.prune_to, self.importance(layer))
                self.masks.grow_to(layer, update.grow_to, self.generator("structure", epoch, index))

    def rest(self, layer: str) -> None:
        self.masks.prune_to(layer, self.plan.target, self.importance(layer))

    def importance(self, layer: str) -> "Tensor":
        """|w| + lambda |g| of every weight of `layer` (MEST eq. 1), g the gradient of the last step."""
        weight = self.masks.weights[layer]
        score = weight.detach().abs()
        if weight.grad is not None and self.config.importance_lambda:
            score = score + self.config.importance_lambda * weight.grad.abs()
        return score
