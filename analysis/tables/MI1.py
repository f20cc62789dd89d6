"""MEST Table I.1: accuracy of three networks on CIFAR-10."""

from analysis.layout import Definition, pivot
from analysis.names import model, sparsity

TABLE = Definition(
    id="MI1",
    source="MEST Table I.1",
    arrange=pivot(model, sparsity, corner="Sparsity"),
)
