"""Periodic freezing (SpFDE appendix B): leading groups of blocks train in some epochs only, all through the run."""

from dataclasses import replace

from spfde_exp.errors import UserError
from spfde_exp.freeze.plan import BACKWARD_SHARE, FreezePlan
from spfde_exp.freeze.solver import FreezeProblem, out_of_reach

# Frozen groups by epoch modulo four: the first group trains in one epoch of four, the second in one of two. The
# periods are powers of two, so that whatever lies before a frozen group is frozen too.
CYCLE = (0, 2, 1, 2)
COARSE = 0.01  # a target may lie as far outside of what whole blocks can save


def periodic(problem: FreezeProblem, target: float, max_fraction: float, delay: int = 0) -> FreezePlan:
    """Split the blocks into three groups, of which the first two freeze in turns, so that `target` is met.

    The sizes of the two groups are the pair that comes nearest to the target; of equally near ones, the most equal.
    Each has at least one block; the third group, with the classifier, is trained always.

    Args:
        target: share of the training FLOPs to save, above 0.
        max_fraction: share of the blocks that may be in the first two groups.
        delay: epochs at the start in which every block is trained (delayed periodic freezing).

    Raises:
        UserError: no pair of sizes meets the target; the message names what is in reach.
    """
    total, limit = len(problem.blocks), problem.most_blocks(max_fraction)
    if limit < 2:
        raise UserError(
            f"periodic freezing needs two blocks, and may freeze {limit} of {total} here; "
            "choose another freeze.scheme or model, or raise freeze.max_fraction"
        )
    weight = [1.0] * problem.epochs if problem.density is None else list(problem.density)
    # weight of the epochs in which so many groups are frozen
    resting = [sum(w for epoch, w in enumerate(weight) if _groups(epoch, delay) == groups) for groups in range(3)]
    heads = [sum(problem.shares[:depth]) for depth in range(total + 1)]

    def saved(first: int, second: int) -> float:
        return BACKWARD_SHARE * (heads[first] * resting[1] + heads[first + second] * resting[2]) / sum(weight)

    sizes = [(first, second) for first in range(1, limit) for second in range(1, limit - first + 1)]
    reached = {pair: saved(*pair) for pair in sizes}
    smallest, largest = min(reached.values()), max(reached.values())
    where = f"periodic freezing of {limit} of {total} blocks (freeze.max_fraction) in {problem.epochs} epochs"
    where += f" from epoch {delay}" if delay else ""
    if target < smallest - COARSE:
        raise out_of_reach(target, smallest, where, "choose freeze.scheme=single_shot", smallest=True)
    if target > largest + COARSE:
        earlier = " or an earlier freeze.t_freeze" if delay else ""
        raise out_of_reach(target, largest, where, f"allow a larger freeze.max_fraction{earlier}")
    # rounded: what is equal but for binary noise is equal
    best = min(sizes, key=lambda pair: (round(abs(reached[pair] - target), 9), abs(pair[0] - pair[1])))
    depths = (0, best[0], sum(best))
    frozen = tuple(depths[_groups(epoch, delay)] for epoch in range(problem.epochs))
    return replace(FreezePlan.none(problem.epochs, problem.blocks, problem.shares), frozen=frozen, own_clock=False)


def _groups(epoch: int, delay: int) -> int:
    """Groups that are frozen in `epoch`."""
    return CYCLE[epoch % len(CYCLE)] if epoch >= delay else 0
