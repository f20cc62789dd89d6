"""From a target to a plan (SpFDE section 4.2.1): which blocks freeze, and when."""

from collections.abc import Sequence
from dataclasses import dataclass

from spfde_exp.errors import UserError
from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.freeze.published import published_t_freeze
from spfde_exp.rounding import round_half_up


@dataclass(frozen=True)
class FreezeProblem:
    """What the solver needs to know of a run.

    Attributes:
        model: its name, for the published freeze epochs.
        blocks, shares: names of the blocks and their shares of the forward FLOPs.
        epochs: length of the run.
        every: structure-change interval; one block freezes per interval.
        density: density trained per epoch, or None to count every epoch alike.
    """

    model: str
    blocks: Sequence[str]
    shares: Sequence[float]
    epochs: int
    every: int
    density: Sequence[float] | None = None

    def plan(self, starts: Sequence[int]) -> FreezePlan:
        """The plan that freezes block k at `starts[k]`."""
        return FreezePlan.sequential(self.epochs, self.blocks, self.shares, starts)

    def reduction(self, starts: Sequence[int]) -> float:
        """The share of training FLOPs that this plan saves, in the accounting of the problem."""
        return self.plan(starts).reduction(self.density)


def single_shot(problem: FreezeProblem, target: float, t_freeze: int | None, max_fraction: float) -> FreezePlan:
    """Freeze one block per interval from `t_freeze` until `target` is met, then move the last one to fit.

    The last block's epoch is moved so that the target is met as closely as whole epochs allow.

    Args:
        target: share of the training FLOPs to save, above 0.
        t_freeze: epoch of the first freeze; None takes the paper's where it prints one that suffices, else the
            latest multiple of the interval from which `max_fraction` of the blocks suffices.

    Raises:
        UserError: the target is out of reach; the message names the largest that is in reach.
    """
    if t_freeze is not None:
        starts = _until(problem, target, _starts(problem, t_freeze, len(problem.blocks)))
        if starts is None:
            best = problem.reduction(_starts(problem, t_freeze, len(problem.blocks)))
            raise UserError(_unreachable(target, best, f"freeze.t_freeze={t_freeze}", "an earlier freeze.t_freeze"))
        return problem.plan(_fit_last(problem, target, starts))
    count = max(1, round_half_up(max_fraction * len(problem.blocks)))
    published = published_t_freeze(problem.model, problem.epochs, problem.every, target, max_fraction, scaled=True)
    if published is not None:
        starts = _until(problem, target, _starts(problem, published, count))
        if starts is not None:
            return problem.plan(_fit_last(problem, target, starts))
    for first in range((problem.epochs - 1) // problem.every * problem.every, 0, -problem.every):
        starts = _until(problem, target, _starts(problem, first, count))
        if starts is not None:
            return problem.plan(_fit_last(problem, target, starts))
    best = problem.reduction(_starts(problem, problem.every, count)) if problem.every < problem.epochs else 0.0
    where = f"{count} of {len(problem.blocks)} blocks (freeze.max_fraction) in {problem.epochs} epochs"
    remedy = "more epochs, a shorter dst.every or a larger freeze.max_fraction"
    raise UserError(_unreachable(target, best, where, remedy))


def _starts(problem: FreezeProblem, first: int, count: int) -> list[int]:
    starts = range(first, problem.epochs, problem.every)
    return list(starts[:count])


def _until(problem: FreezeProblem, target: float, starts: list[int]) -> list[int] | None:
    for blocks in range(1, len(starts) + 1):
        if problem.reduction(starts[:blocks]) >= target - 1e-12:
            return starts[:blocks]
    return None


def _fit_last(problem: FreezeProblem, target: float, starts: list[int]) -> list[int]:
    candidates = range(starts[-1], problem.epochs)
    last = min(candidates, key=lambda epoch: abs(problem.reduction([*starts[:-1], epoch]) - target))
    return [*starts[:-1], last]


def _unreachable(target: float, best: float, where: str, remedy: str) -> str:
    return (
        f"freeze={target:g} is out of reach with {where}: the largest reachable is {100 * best:.2f} % "
        f"(freeze={int(best * 1e4) / 1e4:g}); lower freeze, or allow {remedy}"
    )
