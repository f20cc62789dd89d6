"""MEST Table H.1: accuracy of VGG-19 on CIFAR-10 and CIFAR-100."""

from analysis.layout import Definition, pivot
from analysis.names import dataset, sparsity, system

TABLE = Definition(
    id="MH1",
    source="MEST Table H.1",
    arrange=pivot(system, sparsity, corner="Method", over=dataset),
)
