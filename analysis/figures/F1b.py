"""SpFDE Figure 1 (b): CKA of the 10th layer with the final network."""

from analysis.drawing.panel import Figure
from analysis.drawing.watched import CKA, MADE, numbered, per_cell
from analysis.names import sparsity

FIGURE = Figure(
    id="F1b",
    source="SpFDE Figure 1 (b)",
    arrange=per_cell("cka", sparsity, numbered(10), CKA),
    made=("Linear CKA, unbiased, between a layer's outputs after each epoch and after the last one.", MADE),
)
