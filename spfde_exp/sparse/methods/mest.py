"""MEST (vanilla), Yuan et al., NeurIPS 2021, section 3.2."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spfde_exp.errors import UserError
from spfde_exp.sparse.methods.base import Method
from spfde_exp.sparse.schedule import SparsitySchedule, Update, build_schedule, mutation_epochs

if TYPE_CHECKING:
    import torch

    from spfde_exp.sparse.masks import Masks


class Mest(Method):
    """Remove the least important weights and grow as many at random, at a constant mutation ratio.

    Prunes to s + p, then grows to s: the sparsity that is trained never falls below the target.
    """

    name = "mest"
    dynamic = True
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

    @classmethod
    def update(
        cls,
        masks: "Masks",
        layer: str,
        update: Update,
        importance: Callable[[str], "torch.Tensor"],
        generator: "torch.Generator",
    ) -> None:
        masks.prune_to(layer, update.prune_to, importance(layer))
        masks.grow_to(layer, update.grow_to, generator)
