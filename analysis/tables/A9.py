"""SpFDE Table A9: data sieving alone."""

from analysis.layout import Definition, pivot
from analysis.names import ratio

TABLE = Definition(
    id="A9",
    source="SpFDE Table A9",
    arrange=pivot(ratio("sparsity.target", "sparsity"), ratio("sieve.ratio"), corner="FLOPs reduction"),
)
