"""Exact rounding: .5 goes up, and 0.1 means one tenth, not the nearest binary fraction."""

import math
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache


def round_half_up(number: float) -> int:
    """Nearest whole number, .5 upwards (Python's round() goes to even)."""
    whole = math.floor(number)
    return whole + (number - whole >= 0.5)


def to_interval(epoch: float, every: int) -> int:
    """Nearest multiple of `every`, halves upwards."""
    return every * round_half_up(epoch / every)


def share_of(units: int, share: float) -> int:
    """`share` x `units`, rounded half up, in decimal arithmetic."""
    return _whole(Decimal(str(share)) * units)


@lru_cache(maxsize=1 << 16)  # plans ask for few layers at few sparsities, again and again
def kept_count(units: int | Decimal, sparsity: float) -> int:
    """Units that stay of `units` at a sparsity: (1 - sparsity) x units, rounded half up, in decimal arithmetic."""
    return _whole((1 - Decimal(str(sparsity))) * units)


def _whole(exact: Decimal) -> int:
    return int((exact + Decimal("0.5")).to_integral_value(ROUND_FLOOR))
