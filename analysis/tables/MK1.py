"""MEST Table K.1: a sparsity scheme and ratio per layer type."""

from analysis.layout import Definition, pivot
from analysis.names import scheme, system
from analysis.quantities import ACCURACY, ITERATION_TIME

TABLE = Definition(
    id="MK1",
    source="MEST Table K.1",
    arrange=pivot(lambda cell: f"{system(cell)}, {scheme(cell)}", None, (ACCURACY, ITERATION_TIME), corner="Scheme"),
)
