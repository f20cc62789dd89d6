"""How many examples sieving removes and exchanges. Needs no torch, so that plans can tell without training."""

from spfde_exp.rounding import share_of


def sieve_sizes(examples: int, ratio: float, update_ratio: float) -> tuple[int, int]:
    """Examples removed, and examples exchanged at each update (SpFDE section 4.3).

    Both are rounded half up. At least one is exchanged where any is removed and `update_ratio` is above 0, so that
    every removed example comes back; never more than are kept.
    """
    removed = share_of(examples, ratio)
    exchanged = share_of(removed, update_ratio)
    if removed and update_ratio > 0:
        exchanged = max(1, exchanged)
    return removed, min(exchanged, examples - removed)
