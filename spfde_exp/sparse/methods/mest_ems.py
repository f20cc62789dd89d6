"""MEST with elastic mutation and soft memory bound (EM&S), MEST algorithm 1; what SpFDE trains with."""

from typing import Any

from spfde_exp.errors import UserError
from spfde_exp.sparse.methods.mest_em import MestEM
from spfde_exp.sparse.schedule import SparsitySchedule, Update, build_schedule


class MestEMS(MestEM):
    """Grow to s - p, train the interval, prune back to s: new weights compete with old ones before any goes.

    At `stop` the network is pruned to the target and its masks rest.
    """

    name = "mest_ems"
    title = "MEST+EM&S"

    @classmethod
    def mutation_ratio(cls, target: float, p: Any) -> float:
        ratio = round(min(0.05, 1 - target, target), 10) if p == "auto" else round(float(p), 10)
        if ratio > target:
            raise UserError(
                f"method.p={ratio:g} is more than sparsity={target:g} leaves to grow; "
                f"allowed for {cls.name}: auto, or a number up to {target:g}"
            )
        return ratio

    @classmethod
    def mutation(cls, target: float, p: float) -> Update:
        return Update(target, round(target - p, 10))

    @classmethod
    def schedule(
        cls, epochs: int, target: float, p: Any, every: int, milestones: list[int], stop: int
    ) -> SparsitySchedule:
        mutations = super().schedule(epochs, target, p, every, milestones, stop).updates
        return build_schedule(epochs, target, mutations | {stop: Update(target, target)})
