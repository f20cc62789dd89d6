"""SpFDE Table A8: layer freezing alone."""

from analysis.layout import Definition, pivot
from analysis.names import ratio

TABLE = Definition(
    id="A8",
    source="SpFDE Table A8",
    arrange=pivot(ratio("sparsity.target", "sparsity"), ratio("freeze.target"), corner="FLOPs reduction"),
)
