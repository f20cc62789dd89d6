"""How an overall sparsity is shared out among the layers, and when a layer cannot hold its part."""

from collections.abc import Callable, Mapping
from math import prod

from spfde_exp.errors import UserError
from spfde_exp.sparse.layout import Layout

TOLERANCE = 0.01  # share of a layer by which units may miss its part
NOISE = 1e-9  # of binary fractions

# Weight of a layer's density, up to a common factor; shape is (filters, channels, kernel...).
DENSITIES: dict[str, Callable[[tuple[int, ...]], float]] = {
    # Mocanu et al., 2018: Erdos-Renyi random graphs; Evci et al., 2020 count the kernel in as well.
    "er": lambda shape: (shape[0] + shape[1]) / (shape[0] * shape[1]),
    "erk": lambda shape: sum(shape) / prod(shape),
    # MEST Table K.1 gives no formula: the larger a layer, the sparser, between uniform and equal counts.
    "proportional": lambda shape: prod(shape) ** -0.5,
}


class Distribution:
    """Units that each layer keeps at any overall sparsity.

    ``uniform`` gives every layer the same sparsity (SpFDE section 5). ``er``, ``erk`` and ``proportional`` share out
    densities in fixed proportions, with one common factor; a layer that would be more than dense is dense, and the
    others make up for it. ``explicit`` takes a sparsity per kernel size at the target (MEST Table K.1), and scales
    densities at other levels.

    Attributes:
        layouts: layer -> its units.
        kind: one of the names above.
        explicit: kernel size, such as "3x3", -> sparsity at `target`.
        target: overall sparsity at the end.
    """

    def __init__(
        self,
        layouts: Mapping[str, Layout],
        target: float,
        kind: str = "uniform",
        explicit: Mapping[str, float] | None = None,
    ) -> None:
        self.layouts, self.target, self.kind = dict(layouts), target, kind
        self.explicit = {str(size): float(part) for size, part in (explicit or {}).items()}
        self._units: dict[float, dict[str, int]] = {}
        if kind == "explicit":
            for name, layout in self.layouts.items():
                if _kernel(layout.shape) not in self.explicit:
                    raise UserError(
                        f"sparsity.explicit has no entry for layer {name}, of kernel size {_kernel(layout.shape)}; "
                        f"it has: {', '.join(self.explicit) or 'nothing'}"
                    )

    def sparsities(self, sparsity: float) -> dict[str, float]:
        """Layer -> its share of zeros when `sparsity` of all weights are zero."""
        if self.kind == "uniform":
            return dict.fromkeys(self.layouts, sparsity)
        if self.kind == "explicit":
            scale = (1 - sparsity) / (1 - self.target)
            parts = {name: 1 - self.explicit[_kernel(layout.shape)] for name, layout in self.layouts.items()}
            return {name: 1 - min(1.0, density * scale) for name, density in parts.items()}
        sizes = {name: layout.weights for name, layout in self.layouts.items()}
        raw = {name: DENSITIES[self.kind](layout.shape) for name, layout in self.layouts.items()}
        return {name: 1 - density for name, density in _filled(sizes, raw, 1 - sparsity).items()}

    def units(self, layer: str, sparsity: float) -> int:
        """Units of `layer` that stay at the overall `sparsity`, rounded half up."""
        if sparsity not in self._units:
            parts = self.sparsities(sparsity)
            self._units[sparsity] = {name: layout.kept_units(parts[name]) for name, layout in self.layouts.items()}
        return self._units[sparsity][layer]

    def weights(self, layer: str, sparsity: float) -> int:
        """Weights of `layer` that stay at the overall `sparsity`."""
        return self.units(layer, sparsity) * self.layouts[layer].per_unit

    def total(self, sparsity: float) -> int:
        """Weights of all layers that stay at the overall `sparsity`."""
        return sum(self.weights(name, sparsity) for name in self.layouts)

    def check(self, tolerance: float = TOLERANCE) -> None:
        """Whether the layers can hold the target.

        Args:
            tolerance: share of a layer's weights by which whole units may miss its part.

        Raises:
            UserError: a layer would keep nothing, or miss its part by more; or all together miss the target.
        """
        parts = self.sparsities(self.target)
        for name, layout in self.layouts.items():
            count = self.units(name, self.target)
            missed = abs(1 - count * layout.per_unit / layout.weights - parts[name])
            if count == 0 or missed > tolerance + NOISE:
                raise UserError(
                    f"sparsity={self.target:g} cannot be met by layer {name}: of its {layout.units} {layout.name} "
                    f"{count} would stay{_of(parts[name], self.target)}; choose a lower sparsity or a wider model"
                )
        everything = sum(layout.weights for layout in self.layouts.values())
        if everything and abs(1 - self.total(self.target) / everything - self.target) > tolerance + NOISE:
            reached = 1 - self.total(self.target) / everything
            raise UserError(
                f"sparsity.distribution={self.kind} gives {100 * reached:.2f} % of zeros here, and sparsity="
                f"{self.target:g} was asked for; set sparsity={reached:.2f}, or other parts"
            )


def _of(part: float, target: float) -> str:
    return "" if abs(part - target) < NOISE else f" at its part of {part:g}"


def _kernel(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[2:])) or "linear"


def _filled(sizes: Mapping[str, int], raw: Mapping[str, float], density: float) -> dict[str, float]:
    """Densities min(1, f x raw) with the factor f for which they make up `density` of all weights."""
    dense: set[str] = set()
    while True:
        rest = [name for name in sizes if name not in dense]
        left = density * sum(sizes.values()) - sum(sizes[name] for name in dense)
        factor = left / sum(sizes[name] * raw[name] for name in rest) if rest else 0.0
        over = {name for name in rest if factor * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in dense else factor * raw[name] for name in sizes}
        dense |= over
