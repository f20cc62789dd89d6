"""FreezeOut (Brock et al., 2017): every block stops training at a time of its own, fixed before training starts."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.freeze.solver import FreezeProblem, out_of_reach
from spfde_exp.rounding import round_half_up

POWERS = {"linear": 1, "cubic": 3}
HALVINGS = 40  # of the interval of t_0; far below what an epoch can tell


def freezeout(
    problem: FreezeProblem, target: float, t_freeze: int | None, spacing: str = "cubic", scale_lr: bool = True
) -> FreezePlan:
    """Freeze block i of L at the share t_i = (t_0 + (1 - t_0) i / L) ** p of the epochs, rounded to whole ones.

    The classifier is the last layer of that row, L, and trains to the end. Each block's cosine ends as it freezes.
    Defaults are those of the authors' code (cubic, scaled); their t_0 = 0.8 is solved for here.

    Args:
        target: share of the training FLOPs to save; not looked at where `t_freeze` is given.
        t_freeze: epoch at which the first block freezes, t_0 ** p of all; None solves for it.
        spacing: ``linear`` (p = 1) or ``cubic`` (p = 3, which leaves later blocks more of the time).
        scale_lr: start block i at 1 / t_i times the learning rate, so that all go equally far.

    Raises:
        UserError: the target is out of reach; the message names the largest that is in reach.
    """
    power = POWERS[spacing]
    if t_freeze is not None:
        return _plan(problem, _stops(problem, (t_freeze / problem.epochs) ** (1 / power), power), scale_lr)

    def saved(start: float) -> float:
        return problem.reduction(_stops(problem, start, power))

    if saved(0.0) < target - 1e-12:
        where = f"{spacing} FreezeOut of {len(problem.blocks)} blocks in {problem.epochs} epochs"
        raise out_of_reach(target, saved(0.0), where, "choose " + _others(spacing))
    below, above = _narrowed(saved, target)
    start = min((below, above), key=lambda t_0: round(abs(saved(t_0) - target), 9))
    return _plan(problem, _stops(problem, start, power), scale_lr)


def _stops(problem: FreezeProblem, start: float, power: int) -> list[int]:
    """Epoch at which each block freezes, the first at the share `start` ** power; at least one epoch is trained."""
    total = len(problem.blocks)
    shares = [(start + (1 - start) * index / total) ** power for index in range(total)]
    return [max(1, round_half_up(share * problem.epochs)) for share in shares]


def _plan(problem: FreezeProblem, stops: Sequence[int], scale_lr: bool) -> FreezePlan:
    return replace(problem.plan(stops), scaled=scale_lr)


def _narrowed(saved: Callable[[float], float], target: float) -> tuple[float, float]:
    """The last t_0 that saves `target`, and the first that does not: the later blocks freeze, the less they save."""
    below, above = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (below + above) / 2
        below, above = (middle, above) if saved(middle) >= target - 1e-12 else (below, middle)
    return below, above


def _others(spacing: str) -> str:
    return "freeze.spacing=cubic or freeze.scheme=single_shot" if spacing == "linear" else "freeze.scheme=single_shot"
