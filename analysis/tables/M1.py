"""MEST Table 1: accuracy of ResNet-32 on CIFAR-10 and CIFAR-100."""

from analysis.layout import Definition, pivot
from analysis.names import dataset, sparsity, system

TABLE = Definition(
    id="M1",
    source="MEST Table 1",
    arrange=pivot(system, sparsity, corner="Method", over=dataset),
)
