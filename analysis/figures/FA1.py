"""SpFDE Figure A1: CKA of five layers with the final network."""

from analysis.drawing.panel import Figure
from analysis.drawing.watched import CKA, MADE, numbered, per_cell
from analysis.names import sparsity

FIGURE = Figure(
    id="FA1",
    source="SpFDE Figure A1",
    arrange=per_cell("cka", sparsity, numbered(1, 3, 18, 25, 32), CKA),
    made=("Linear CKA, unbiased, between a layer's outputs after each epoch and after the last one.", MADE),
    columns=3,
)
