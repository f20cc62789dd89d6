"""SpFDE Table A1: the four freezing schemes."""

from analysis.layout import Definition, pivot
from analysis.names import freezing, ratio
from analysis.quantities import ACCURACY, FREEZE_REDUCTION

TABLE = Definition(
    id="A1",
    source="SpFDE Table A1",
    arrange=pivot(freezing, ratio("sparsity.target", "sparsity"), (FREEZE_REDUCTION, ACCURACY), corner="Freeze Scheme"),
)
