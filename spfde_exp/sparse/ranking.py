"""The highest of many scores, fast and the same on every device. Imports no torch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def top(score: "Tensor", count: int) -> "Tensor":
    """Which are the `count` highest of `score` (one dimension), boolean; ties go to the lower index."""
    chosen = score.new_zeros(len(score)).bool()
    if count >= len(score):
        return ~chosen
    if count > 0:  # selecting takes a tenth of the time of sorting
        least = score.topk(count, sorted=False).values.amin()
        chosen = score > least
        ties = (score == least).nonzero()[: count - int(chosen.sum()), 0]
        chosen.index_fill_(0, ties, True)
    return chosen
