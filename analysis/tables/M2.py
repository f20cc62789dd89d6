"""MEST Table 2: accuracy and FLOPs of ResNet-50 on ImageNet."""

from analysis.layout import Definition, pivot
from analysis.names import sparsity, system
from analysis.quantities import ACCURACY, FLOPS_E18, INFERENCE_E9

TABLE = Definition(
    id="M2",
    source="MEST Table 2",
    arrange=pivot(system, sparsity, (FLOPS_E18, INFERENCE_E9, ACCURACY), corner="Method"),
)
