"""How an overall sparsity is shared out among the layers, and when a layer cannot hold its part."""

from collections.abc import Callable, Mapping
from math import ceil, prod

from spfde_exp.errors import UserError
from spfde_exp.sparse.layout import Layout
from spfde_exp.sparse.scheme import kernel_size

TOLERANCE = 0.01  # share of a layer by which units may miss its part
DIGITS = 12  # of a share: beyond is noise of binary fractions

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
    densities in fixed proportions, with one common factor; a layer that would be denser than it can be keeps all, and
    the others make up for it. ``explicit`` takes the sparsity of each kernel size at the target (MEST Table K.1).

    While a method prunes beyond the target, all layers lose in proportion, but those whose units are all kept at it;
    and none loses its last unit.

    Attributes:
        layouts: layer -> its units.
        target: overall sparsity at the end.
        kind: one of the names above.
        explicit: kernel size, such as "3x3", -> sparsity at `target`.
    """

    def __init__(
        self,
        layouts: Mapping[str, Layout],
        target: float,
        kind: str = "uniform",
        explicit: Mapping[str, float] | None = None,
    ) -> None:
        """Parts for `layouts`.

        Raises:
            UserError: `explicit` does not name the kernel sizes of the layers.
        """
        self.layouts, self.target, self.kind = dict(layouts), target, kind
        self.explicit = {str(size): float(part) for size, part in (explicit or {}).items()}
        self._units: dict[float, dict[str, int]] = {}
        if kind == "explicit":
            self._check_explicit()
        self._final = self._final_densities()

    def sparsities(self, sparsity: float) -> dict[str, float]:
        """Layer -> its share of zeros when `sparsity` of all weights are zero, before rounding to units."""
        if self.kind == "uniform":
            return dict.fromkeys(self.layouts, sparsity)
        densities = self._final
        if sparsity > self.target:
            scale = (1 - sparsity) / (1 - self.target)
            most = {name: layout.densest for name, layout in self.layouts.items()}
            # to nine digits: explicit parts have ten
            full = {name for name, density in densities.items() if round(density - most[name], 9) >= 0}
            densities = {name: part if name in full else part * scale for name, part in densities.items()}
        elif sparsity < self.target:  # at 0 nothing is zero, also where the parts do not add up to the target
            densities = self._filled(densities, 1 - (1 - self._overall(densities)) * sparsity / self.target)
        return {name: round(1 - density, DIGITS) for name, density in densities.items()}

    def units(self, layer: str, sparsity: float) -> int:
        """Units of `layer` that stay at the overall `sparsity`, rounded half up."""
        if sparsity not in self._units:
            parts = self.sparsities(sparsity)
            counts = {name: layout.kept_units(parts[name]) for name, layout in self.layouts.items()}
            if sparsity > self.target:  # no layer loses its last unit
                counts = {name: max(count, min(1, self.units(name, self.target))) for name, count in counts.items()}
            self._units[sparsity] = counts
        return self._units[sparsity][layer]

    def weights(self, layer: str, sparsity: float) -> int:
        """Weights of `layer` that stay at the overall `sparsity`."""
        return self.units(layer, sparsity) * self.layouts[layer].per_unit

    def total(self, sparsity: float) -> int:
        """Weights of all layers that stay at the overall `sparsity`."""
        return sum(self.weights(name, sparsity) for name in self.layouts)

    def check_total(self) -> None:
        """Whether any weight stays at the target.

        Raises:
            UserError: none does.
        """
        if self.layouts and self.total(self.target) == 0:
            weights = sum(layout.weights for layout in self.layouts.values())
            raise UserError(
                f"sparsity={self.target:g} leaves none of the {weights} prunable weights; choose a lower sparsity or a "
                "wider model"
            )

    def check(self, tolerance: float = TOLERANCE) -> None:
        """Whether the layers can hold the target.

        Args:
            tolerance: share of a layer's weights by which whole units may miss its part.

        Raises:
            UserError: a layer would keep nothing, or miss its part by more; or all together miss the target.
        """
        parts, missed = self.sparsities(self.target), {}
        for name, layout in self.layouts.items():
            if self.units(name, self.target) == 0:
                raise UserError(
                    f"{self._cannot(name, parts[name])}; choose a lower sparsity, a finer sparsity.scheme or a wider "
                    "model"
                )
            density = self.weights(name, self.target) / layout.weights
            missed[name] = round(abs(1 - density - parts[name]), DIGITS)
            if missed[name] > tolerance and density == layout.densest < 1:
                raise UserError(
                    f"{self._cannot(name, parts[name])}, and {1 - layout.densest:.2%} of it is zero even so; choose a "
                    "higher sparsity or another sparsity.scheme"
                )
        worst = max(missed, key=missed.__getitem__, default=None)
        if worst is not None and missed[worst] > tolerance:
            accept = ceil(round(missed[worst] * 1e4, DIGITS - 4)) / 1e4
            raise UserError(
                f"{self._cannot(worst, parts[worst])}, {100 * missed[worst]:.2f} points off; choose another sparsity, "
                f"a finer sparsity.scheme or a wider model, or accept it with sparsity.tolerance={accept:g}"
            )
        reached = 1 - self.total(self.target) / max(1, sum(layout.weights for layout in self.layouts.values()))
        if self.layouts and round(abs(reached - self.target), DIGITS) > tolerance:
            raise UserError(
                f"sparsity.distribution={self.kind} makes {reached:.2%} of the prunable weights zero, and sparsity="
                f"{self.target:g} was asked for; set sparsity={reached:.2f}, or change the parts"
            )

    def _cannot(self, name: str, part: float) -> str:
        layout, share = self.layouts[name], "" if part == self.target else f" at its part of {part:.4g}"
        return (
            f"sparsity={self.target:g} cannot be met by layer {name}: of its {layout.units} {layout.name} "
            f"{self.units(name, self.target)} would stay{share}"
        )

    def _check_explicit(self) -> None:
        sizes: dict[str, str] = {}
        for name, layout in self.layouts.items():
            sizes.setdefault(kernel_size(layout.shape), name)
        for size, name in sizes.items():
            if size not in self.explicit:
                raise UserError(
                    f"sparsity.explicit says nothing of layer {name}, of kernel size {size}; set it for every kernel "
                    f"size of the prunable layers: sparsity.explicit={{{','.join(f'{key}:0.9' for key in sizes)}}}"
                )
        if unknown := [size for size in self.explicit if size not in sizes]:
            raise UserError(
                f"sparsity.explicit names kernel size {unknown[0]}, and no prunable layer has it; "
                f"allowed: {', '.join(sizes)}"
            )

    def _final_densities(self) -> dict[str, float]:
        """Layer -> density at the target."""
        if self.kind == "uniform":
            return dict.fromkeys(self.layouts, 1 - self.target)
        if self.kind == "explicit":
            return {name: 1 - self.explicit[kernel_size(layout.shape)] for name, layout in self.layouts.items()}
        raw = {name: DENSITIES[self.kind](layout.shape) for name, layout in self.layouts.items()}
        return self._filled(raw, 1 - self.target)

    def _overall(self, densities: Mapping[str, float]) -> float:
        sizes = {name: layout.weights for name, layout in self.layouts.items()}
        return sum(sizes[name] * densities[name] for name in sizes) / sum(sizes.values())

    def _filled(self, raw: Mapping[str, float], density: float) -> dict[str, float]:
        """Densities min(densest, f x raw) with the factor f for which they make up `density` of all weights."""
        size = {name: layout.weights for name, layout in self.layouts.items()}
        most = {name: layout.densest for name, layout in self.layouts.items()}
        full: set[str] = set()
        while True:
            rest = [name for name in size if name not in full]
            left = density * sum(size.values()) - sum(size[name] * most[name] for name in full)
            factor = left / sum(size[name] * raw[name] for name in rest) if rest else 0.0
            over = {name for name in rest if factor * raw[name] > most[name]}
            if not over:
                return {name: most[name] if name in full else factor * raw[name] for name in size}
            full |= over
