"""MEST Table L.1: fewer examples against fewer weights."""

from analysis.layout import Definition, pivot
from analysis.names import sparsity, system

TABLE = Definition(
    id="ML1",
    source="MEST Table L.1",
    arrange=pivot(lambda cell: f"{system(cell)}, {sparsity(cell)}", corner="Scheme"),
)
