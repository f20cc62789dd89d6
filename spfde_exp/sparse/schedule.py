"""When a method changes its masks, and to what: data that exists before training starts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Update:
    """At the start of an epoch, first prune every layer to one sparsity, then grow it to another.

    Attributes:
        prune_to: share of zeros after the prune.
        grow_to: share of zeros after the growth, never more than `prune_to`; the density that is trained.
    """

    prune_to: float
    grow_to: float


@dataclass(frozen=True)
class SparsitySchedule:
    """The sparsity at which each epoch is trained, and the updates that lead there.

    Attributes:
        trained: share of zeros of a prunable layer during each epoch, length `epochs`.
        updates: epoch -> update at its start.
        target: share of zeros at the end.
    """

    trained: tuple[float, ...]
    updates: dict[int, Update]
    target: float

    @property
    def mean_density(self) -> float:
        """Mean over epochs of the share of weights that are trained."""
        return 1 - sum(self.trained) / len(self.trained)


def build_schedule(
    epochs: int, target: float, updates: dict[int, Update], start: float | None = None
) -> SparsitySchedule:
    """The schedule of a run that starts at `start` (default: `target`) and applies `updates`."""
    trained, level = [], target if start is None else start
    for epoch in range(epochs):
        if epoch in updates:
            level = updates[epoch].grow_to
        trained.append(level)
    return SparsitySchedule(tuple(trained), updates, target)


def mutation_epochs(every: int, milestones: list[int], stop: int) -> dict[int, int]:
    """Epoch of each mutation before `stop` -> how many milestones have passed by then."""
    return {epoch: sum(epoch >= milestone for milestone in milestones) for epoch in range(0, stop, every)}
