"""SpFDE Figure 1 (a): structural similarity with the final network."""

from analysis.drawing.panel import Figure
from analysis.drawing.watched import MADE, per_layer, spread

FIGURE = Figure(
    id="F1a",
    source="SpFDE Figure 1 (a)",
    arrange=per_layer("similarity", spread(5, masked=True), "most significant weights that\nthe final network keeps"),
    made=(
        "Share of the larger half of a layer's non-zero weights, by magnitude, whose places the final network keeps.",
        "Which layers the paper shows is not told: the first and the last one with a mask, and three between.",
        MADE,
    ),
)
