"""SpFDE Table A7: accuracy and FLOPs on ImageNet at 90 %."""

from analysis.layout import Definition, pivot
from analysis.names import system
from analysis.quantities import ACCURACY, FLOPS_E18, INFERENCE_E9

TABLE = Definition(
    id="A7",
    source="SpFDE Table A7",
    arrange=pivot(system, None, (FLOPS_E18, INFERENCE_E9, ACCURACY), corner="Method"),
)
