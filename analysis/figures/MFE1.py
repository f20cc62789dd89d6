"""MEST Figure E.1: accuracy over the weight of the gradient in the importance."""

from analysis.drawing import shapes
from analysis.drawing.panel import Figure
from analysis.drawing.points import MADE, Axis, over
from analysis.names import system

FIGURE = Figure(
    id="MFE1",
    source="MEST Figure E.1",
    arrange=over(
        Axis("weight of the gradient λ", lambda cell: f"{cell.values['method.importance_lambda']:g}"),
        system,
        draw=shapes.ordered,
    ),
    made=(MADE, "Importance is |w| + λ|g|."),
)
