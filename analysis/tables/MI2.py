"""MEST Table I.2: training FLOPs and parameters of three networks."""

from analysis.layout import Definition, pivot
from analysis.names import model, sparsity
from analysis.quantities import FLOPS_E15_OF_MACS, PARAMETERS

TABLE = Definition(
    id="MI2",
    source="MEST Table I.2",
    arrange=pivot(model, sparsity, (FLOPS_E15_OF_MACS, PARAMETERS), corner="Sparsity"),
)
