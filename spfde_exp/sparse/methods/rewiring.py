"""What methods share that drop and grow weights every so often."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from spfde_exp.sparse.methods.base import Method, Step

if TYPE_CHECKING:
    from torch import Tensor

MOST_STEPS = 1 / 20  # of a run between two updates, so that short runs have some too


class Rewiring(Method):
    """Drops a share of the kept weights and grows as many, until a share of training is over."""

    dynamic = True
    reads: ClassVar[tuple[str, ...]] = ("init", "drop", "decay", "every_epochs", "until")

    @property
    def end(self) -> float:
        """Epoch, not always whole, from which the structure rests."""
        assert self.config.until is not None
        return self.config.until * len(self.plan.trained)

    def due_at_epoch(self, epoch: int) -> bool:
        """Whether weights are rewired at the start of `epoch`, by `every_epochs`."""
        every = self.config.every_epochs
        return every is not None and 0 < epoch < self.end and epoch % every == 0

    def due_at_step(self, step: Step) -> bool:
        """Whether weights are rewired in this step, by `every_steps`: a number, or one for each of the phases.

        Never less often than twenty times in a run.
        """
        every = self.in_phase(self.config.every_steps, step.epoch)
        most = max(1, int(MOST_STEPS * step.steps * len(self.plan.trained)))
        return step.count > 0 and step.epoch < self.end and step.count % min(every, most) == 0

    def in_phase(self, value: float | list[float], epoch: int) -> float:
        """`value`, or the one of its values that belongs to the phase of `epoch` (`phases`: shares of training)."""
        if not isinstance(value, list):
            return value
        passed = sum(epoch >= start * len(self.plan.trained) for start in self.config.phases or [0])
        return value[min(passed, len(value)) - 1]

    def fraction(self, epoch: float) -> float:
        """Share of the kept weights to drop at `epoch`: constant, or a cosine to 0 at the end."""
        assert self.config.drop is not None
        if self.config.decay == "cosine":
            return self.config.drop / 2 * (1 + math.cos(math.pi * min(1.0, epoch / self.end)))
        return self.config.drop


def largest(score: "Tensor", among: "Tensor", count: int) -> "Tensor":
    """Mask of the `count` positions of the highest score where `among` is true; ties go to the lower index."""
    ranked = score.double().masked_fill(~among, -math.inf).flatten()
    chosen = ranked.sort(descending=True, stable=True).indices[: min(count, int(among.sum()))]
    return among.new_zeros(among.numel()).index_fill(0, chosen, True).view(among.shape)


def apportion(total: int, shares: Sequence[float], room: Sequence[int]) -> list[int]:
    """`total` units shared out in proportion to `shares`, none over its `room`; exact to the unit.

    Largest remainders first, ties to the lower index; what does not fit goes to those with room left, in the same
    proportion (evenly, where all shares are 0). Gives less than `total` only where the room is less.
    """
    given = [0] * len(room)
    left = min(total, sum(room))
    while left:
        open_ = [index for index, free in enumerate(room) if given[index] < free]
        weights = [shares[index] for index in open_]
        if not sum(weights) > 0:
            weights = [1.0] * len(open_)
        parts = [left * weight / sum(weights) for weight in weights]
        whole = [math.floor(part) for part in parts]
        order = sorted(range(len(open_)), key=lambda place: (whole[place] - parts[place], place))
        for place in order[: left - sum(whole)]:
            whole[place] += 1
        for index, count in zip(open_, whole, strict=True):
            given[index] += min(count, room[index] - given[index])
        left = min(total, sum(room)) - sum(given)
    return given
