"""How many weights each layer keeps, and when a layer cannot hold a sparsity."""

from collections.abc import Mapping

from spfde_exp.errors import UserError
from spfde_exp.rounding import kept_count

TOLERANCE = 0.01 + 1e-9  # a layer may miss the target by one point, by rounding; the rest is binary noise


def uniform(sizes: Mapping[str, int], sparsity: float) -> dict[str, int]:
    """Layer -> weights kept, every layer at the same `sparsity` (SpFDE section 5), rounded half up.

    Raises:
        UserError: a layer would keep no weight, or miss the target by more than one point.
    """
    kept = {name: kept_count(weights, sparsity) for name, weights in sizes.items()}
    for name, count in kept.items():
        if count == 0 or abs(1 - count / sizes[name] - sparsity) > TOLERANCE:
            raise UserError(
                f"sparsity={sparsity:g} cannot be met by layer {name}: of its {sizes[name]} weights {count} "
                "would stay; choose a lower sparsity or a wider model"
            )
    return kept
