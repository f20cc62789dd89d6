"""MEST Table H.2: accuracy of ResNet-34 on ImageNet."""

from analysis.layout import Definition, pivot
from analysis.names import sparsity, system

TABLE = Definition(
    id="MH2",
    source="MEST Table H.2",
    arrange=pivot(system, sparsity, corner="Method"),
)
