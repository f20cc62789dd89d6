"""What methods share that drop and grow weights every so often."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from spfde_exp.sparse.methods.base import Method, Step
from spfde_exp.sparse.ranking import top

if TYPE_CHECKING:
    from torch import Generator, Tensor

MOST_STEPS = 1 / 20  # of a run between two updates, so that short runs have some too


class Rewiring(Method):
    """Drops a share of the kept weights and grows as many, until a share of training is over.

    Attributes:
        least: share to drop at which the cosine ends.
    """

    dynamic = True
    reads: ClassVar[tuple[str, ...]] = ("init", "drop", "decay", "every_epochs", "until")
    least: ClassVar[float] = 0.0

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
        """Share of the kept weights to drop at `epoch`: constant, or a cosine to `least` at the end."""
        assert self.config.drop is not None
        if self.config.decay == "cosine":
            least = min(self.least, self.config.drop)
            return least + (self.config.drop - least) / 2 * (1 + math.cos(math.pi * min(1.0, epoch / self.end)))
        return self.config.drop

    def renew(self, layer: str, stay: "Tensor", grown: "Tensor") -> None:
        """Keep the weights of `layer` that `stay`, and grow those in `grown` at zero, whatever they were."""
        if bool((grown & self.masks.kept[layer]).any()):
            self.masks.replace(layer, stay)
        self.masks.replace(layer, stay | grown)


def largest(score: "Tensor", among: "Tensor", count: int) -> "Tensor":
    """Mask of the `count` positions of the highest score where `among` is true; ties go to the lower index."""
    ranked = score.masked_fill(~among, -math.inf).flatten()
    return top(ranked, min(count, int(among.sum()))).view(among.shape)


def at_random(among: "Tensor", count: int, generator: "Generator") -> "Tensor":
    """Mask of `count` uniformly random positions where `among` is true (all, where there are fewer).

    Choosing few of many positions takes no more time than those few. `generator` lives on the CPU.
    """
    import torch

    free = among.flatten()
    room = int(free.sum())
    missing = min(count, room)
    chosen = torch.zeros_like(free)
    if 2 * missing > room:
        order = torch.randperm(room, generator=generator)[:missing]
        return chosen.index_fill_(0, free.nonzero()[order.to(free.device), 0], True).view(among.shape)
    while missing:
        draws = torch.randint(len(free), (missing * len(free) // room + 16,), generator=generator).to(free.device)
        hits = draws[free[draws] & ~chosen[draws]].tolist()
        places = draws.new_tensor(list(dict.fromkeys(hits))[:missing])
        chosen.index_fill_(0, places, True)
        missing -= len(places)
    return chosen.view(among.shape)


def apportion(total: int, shares: Sequence[float], room: Sequence[int]) -> list[int]:
    """`total` units shared out in proportion to `shares`, none over its `room`; exact to the unit.

    Largest remainders first, ties to the lower index; what does not fit goes to those with room left, in the same
    proportion (evenly, where all shares are 0, or one is not finite). Gives less than `total` only where the room is
    less.
    """
    given = [0] * len(room)
    left, open_ = min(total, sum(room)), [index for index, free in enumerate(room) if free]
    while open_:
        weights = [shares[index] for index in open_]
        if not 0 < sum(weights) < math.inf:
            weights = [1.0] * len(open_)
        parts = {index: left * weight / sum(weights) for index, weight in zip(open_, weights, strict=True)}
        full = [index for index in open_ if parts[index] >= room[index]]
        for index in full:
            given[index] = room[index]
        left -= sum(room[index] for index in full)
        open_ = [index for index in open_ if index not in full]
        if not full:
            given = [math.floor(parts[index]) if index in parts else count for index, count in enumerate(given)]
            order = sorted(open_, key=lambda index: (math.floor(parts[index]) - parts[index], index))
            for index in order[: left - sum(map(math.floor, parts.values()))]:
                given[index] += 1
            break
    return given
