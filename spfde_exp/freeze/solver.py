"""From a target to a plan that freezes blocks one after another (SpFDE section 4.2.1): which, and when."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spfde_exp.errors import UserError
from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.freeze.published import published_t_freeze
from spfde_exp.rounding import round_half_up


@dataclass(frozen=True)
class FreezeProblem:
    """What a solver needs to know of a run.

    Attributes:
        model: its name, for the published freeze epochs.
        blocks, shares: names of the blocks and their shares of the forward FLOPs.
        epochs: length of the run.
        every: structure-change interval; one block freezes per interval.
        density: density trained per epoch, or None to count every epoch alike.
        resume: epochs at the end in which nothing is frozen; what freezes does so as much earlier (appendix B).
    """

    model: str
    blocks: Sequence[str]
    shares: Sequence[float]
    epochs: int
    every: int
    density: Sequence[float] | None = None
    resume: int = 0

    def plan(self, starts: Sequence[int]) -> FreezePlan:
        """The plan that freezes block k at `starts[k]`, or `resume` epochs before."""
        early = [start - self.resume for start in starts]
        plan = FreezePlan.sequential(self.epochs, self.blocks, self.shares, early)
        return plan.from_epoch(self.epochs - self.resume, 0) if self.resume else plan

    def reduction(self, starts: Sequence[int]) -> float:
        """The share of training FLOPs that this plan saves, in the accounting of the problem."""
        return self.plan(starts).reduction(self.density)

    def most_blocks(self, max_fraction: float) -> int:
        """Blocks that may freeze at all: the share `max_fraction`, rounded half up, and at least one."""
        return max(1, round_half_up(max_fraction * len(self.blocks)))

    def intervals(self) -> range:
        """First freeze epochs to choose from, the latest first; each leaves an epoch to train before it."""
        return range((self.epochs - 1) // self.every * self.every, self.resume, -self.every)


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
        if t_freeze <= problem.resume:
            raise UserError(
                f"freeze.t_freeze={t_freeze} less freeze.resume_epochs={problem.resume} leaves nothing to train "
                "before the first freeze; allowed: a later freeze.t_freeze, fewer freeze.resume_epochs"
            )
        starts = _until(problem, target, _starts(problem, t_freeze, len(problem.blocks)))
        if starts is None:
            best = problem.reduction(_starts(problem, t_freeze, len(problem.blocks)))
            where = f"freeze.t_freeze={t_freeze}"
            raise out_of_reach(target, best, where, "allow an earlier freeze.t_freeze")
        return problem.plan(_fit_last(problem, target, starts))
    count = problem.most_blocks(max_fraction)
    published = published_t_freeze(problem.model, problem.epochs, problem.every, target, max_fraction, scaled=True)
    if published is not None and published > problem.resume:
        starts = _until(problem, target, _starts(problem, published, count))
        if starts is not None:
            return problem.plan(_fit_last(problem, target, starts))
    for first in problem.intervals():
        starts = _until(problem, target, _starts(problem, first, count))
        if starts is not None:
            return problem.plan(_fit_last(problem, target, starts))
    best = max((problem.reduction(_starts(problem, first, count)) for first in problem.intervals()[-1:]), default=0.0)
    where = f"{count} of {len(problem.blocks)} blocks (freeze.max_fraction) in {problem.epochs} epochs"
    remedy = "allow more epochs, a shorter dst.every or a larger freeze.max_fraction"
    raise out_of_reach(target, best, where, remedy)


def fraction_of_blocks(problem: FreezeProblem, target: float, fraction: float) -> FreezePlan:
    """Freeze exactly this share of the blocks (4.2.1: "2/3 layers"), rounded half up, one per interval.

    The first one freezes at the latest multiple of the interval from which they save `target`, and the last one's
    epoch is moved as in `single_shot`; or, if that comes nearer to the target, one interval later.

    Raises:
        UserError: the share is no block at all, or so many save less than the target at the earliest, or more at the
            latest; the message names what is in reach.
    """
    total = len(problem.blocks)
    count = round_half_up(fraction * total)
    where = f"exactly {count} of {total} blocks (freeze.fraction) in {problem.epochs} epochs"
    if count == 0:
        raise UserError(f"freeze.fraction={fraction:g} of {total} blocks is none; allowed: from {0.5 / total:.3f} to 1")
    complete = [s for first in problem.intervals() if len(s := _starts(problem, first, count)) == count]
    if not complete:
        raise UserError(f"{where} have no room, one every {problem.every}; lower freeze.fraction, or train longer")
    enough = [starts for starts in complete if problem.reduction(starts) >= target - 1e-12]
    if not enough:
        remedy = "allow more epochs or a larger freeze.fraction"
        raise out_of_reach(target, problem.reduction(complete[-1]), where, remedy)
    least = problem.reduction([*complete[0][:-1], problem.epochs - 1])
    if target < least - 1e-12:
        raise out_of_reach(target, least, where, "allow a smaller freeze.fraction", smallest=True)
    later = complete[: len(complete) - len(enough)][-1:]
    nearest = [_fit_last(problem, target, enough[0]), *later]
    return problem.plan(min(nearest, key=lambda starts: abs(problem.reduction(starts) - target)))


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


def out_of_reach(target: float, best: float, where: str, remedy: str, smallest: bool = False) -> UserError:
    """The error that names the largest target in reach, or the smallest."""
    end, change = ("smallest", "raise") if smallest else ("largest", "lower")
    exact = (math.ceil(best * 1e4) if smallest else math.floor(best * 1e4)) / 1e4
    return UserError(
        f"freeze={target:g} is out of reach with {where}: the {end} reachable is {100 * best:.2f} % "
        f"(freeze={exact:g}); {change} freeze, or {remedy}"
    )
