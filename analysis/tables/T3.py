"""SpFDE Table 3: accuracy and FLOPs on ImageNet at 80 %."""

from analysis.layout import Definition, pivot
from analysis.names import system
from analysis.quantities import ACCURACY, FLOPS_E18, INFERENCE_E9

TABLE = Definition(
    id="T3",
    source="SpFDE Table 3",
    arrange=pivot(system, None, (FLOPS_E18, INFERENCE_E9, ACCURACY), corner="Method"),
)
