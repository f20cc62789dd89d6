"""SpFDE Table A6: accuracy and training FLOPs on CIFAR-10."""

from analysis.layout import Definition, pivot
from analysis.names import sparsity, system
from analysis.quantities import ACCURACY, FLOPS_E15

TABLE = Definition(
    id="A6",
    source="SpFDE Table A6",
    arrange=pivot(system, sparsity, (FLOPS_E15, ACCURACY), corner="Method"),
)
