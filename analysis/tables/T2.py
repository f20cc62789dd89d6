"""SpFDE Table 2: accuracy and training FLOPs on CIFAR-100."""

from analysis.layout import Definition, pivot
from analysis.names import sparsity, system
from analysis.quantities import ACCURACY, FLOPS_E15

TABLE = Definition(
    id="T2",
    source="SpFDE Table 2",
    arrange=pivot(system, sparsity, (FLOPS_E15, ACCURACY), corner="Method"),
)
