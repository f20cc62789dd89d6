"""How the weights of one layer group into units that live and die together (MEST appendix A, Figure A.1)."""

from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from spfde_exp.rounding import kept_count
from spfde_exp.sparse.ranking import top

# Entries kept of a 3x3 kernel, counted row by row: the eight patterns of the released MEST code
# (boone891214/MEST, prune_utils/utils_pr.py). The fifth alone leaves out the centre, there too.
PATTERNS = (
    (4, 5, 7, 8), (3, 4, 6, 7), (1, 2, 4, 5), (0, 1, 3, 4),
    (5, 6, 7, 8), (3, 4, 5, 7), (1, 4, 5, 7), (1, 3, 4, 7),
)  # fmt: skip
KERNEL = 9


class Layout:
    """Units of m x n weights in the matrix view of a layer, filters x (channels x kernel); 1 x 1 is unstructured.

    Attributes:
        shape: the weight's shape; the first size counts filters.
        name: what units are called in messages.
        indexed: whether storing the layer takes an index for each unit; if not, it is stored as a smaller dense layer.
        units: number of units.
        per_unit: weights that a kept unit keeps.
    """

    def __init__(self, shape: Sequence[int], rows: int, columns: int, name: str, indexed: bool = True) -> None:
        """Units of `rows` x `columns` weights; both divide the matrix."""
        self.shape, self.name, self.indexed = tuple(shape), name, indexed
        self.rows, self.columns = rows, columns
        self.grid = (shape[0] // rows, prod(shape[1:]) // columns)
        self.units = self.grid[0] * self.grid[1]
        self.per_unit = rows * columns

    @cached_property
    def weights(self) -> int:
        """All weights of the layer."""
        return prod(self.shape)

    @property
    def densest(self) -> float:
        """Share of the weights that is kept when all units are."""
        return self.units * self.per_unit / self.weights

    def kept_units(self, sparsity: float) -> int:
        """Units that stay when `sparsity` of the weights are zero: rounded half up, never more than there are."""
        return min(self.units, kept_count(Decimal(self.weights) / self.per_unit, sparsity))

    def indices(self, kept: int) -> int:
        """Indices that a sparse format stores with `kept` weights (MEST appendix B).

        One for each unit, and one more than there are rows of units, for where each row begins.
        """
        return kept // self.per_unit + self.grid[0] + 1 if self.indexed else 0

    def total(self, values: Tensor) -> Tensor:
        """Sum of `values` (the weight's shape) in each unit, shape [units]."""
        if self.rows == self.columns == 1:
            return values.flatten()
        cells = values.reshape(self.grid[0], self.rows, self.grid[1], self.columns)
        return cells.sum((1, 3)).flatten()

    def alive(self, mask: Tensor) -> Tensor:
        """Which units keep any weight, boolean [units]."""
        return mask.flatten() if self.rows == self.columns == 1 else self.total(mask.int()) > 0

    def top(self, score: Tensor, count: int) -> Tensor:
        """The `count` units of the highest score, boolean [units]; ties go to the lower index on every device."""
        return top(score, count)

    def spread(self, units: Tensor) -> Tensor:
        """Boolean mask, shape of the weight, of every weight in `units` (boolean [units])."""
        if self.rows == self.columns == 1:
            return units.view(self.shape)
        cells = units.view(self.grid[0], 1, self.grid[1], 1).expand(-1, self.rows, -1, self.columns)
        return cells.reshape(self.shape)

    def fresh(self, units: Tensor, generator: torch.Generator) -> Tensor:
        """Mask of the weights with which `units` (boolean [units]), new ones, are trained."""
        return self.spread(units)

    def best(self, values: Tensor) -> Tensor:
        """Mask of the weights that every unit would keep to have the largest sum of `values` (the weight's shape)."""
        return torch.ones_like(values, dtype=torch.bool)


class Patterns(Layout):
    """Kernel patterns with connectivity pruning: a 3x3 kernel keeps four entries in one of `PATTERNS`, or none.

    The filters of a layer keep as many kernels each (MEST appendix D: "the same number"), or differ by one where the
    number does not divide.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        """`shape` is that of a 3x3 convolution's weight."""
        super().__init__(shape, 1, KERNEL, "kernels")
        self.per_unit = len(PATTERNS[0])

    def top(self, score: Tensor, count: int) -> Tensor:
        """As in `Layout`, of the choices with equal numbers in all filters."""
        filters, kernels = self.grid
        each, extra = divmod(count, filters)
        order = score.view(filters, kernels).sort(dim=1, descending=True, stable=True)
        chosen = torch.zeros(filters, kernels, dtype=torch.bool, device=score.device)
        chosen.scatter_(1, order.indices[:, :each], True)
        if extra:  # the filters whose next kernel scores best keep one more
            best = order.values[:, each].sort(descending=True, stable=True).indices[:extra]
            chosen[best, order.indices[best, each]] = True
        return chosen.flatten()

    def fresh(self, units: Tensor, generator: torch.Generator) -> Tensor:
        pick = torch.randint(len(PATTERNS), (self.units,), generator=generator)
        return self._patterned(pick.to(units.device)) & self.spread(units)

    def best(self, values: Tensor) -> Tensor:
        kernels = values.reshape(self.units, KERNEL)
        sums = torch.stack([kernels[:, list(entries)].sum(1) for entries in PATTERNS], 1)
        return self._patterned(sums.sort(dim=1, descending=True, stable=True).indices[:, 0])

    def _patterned(self, pick: Tensor) -> Tensor:
        """Mask in which each kernel has the pattern that `pick` ([units]) names."""
        table = torch.zeros(len(PATTERNS), KERNEL, dtype=torch.bool, device=pick.device)
        for row, entries in enumerate(PATTERNS):
            table[row, list(entries)] = True
        return table[pick].view(self.shape)
