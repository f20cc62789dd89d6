"""MEST Figure H.2: sparsity schemes, VGG-19."""

from analysis.drawing.panel import Figure
from analysis.drawing.points import MADE, SPARSITY, over
from analysis.names import dataset, scheme, system

FIGURE = Figure(
    id="MFH2",
    source="MEST Figure H.2",
    arrange=over(SPARSITY, scheme, panel=lambda cell: f"{dataset(cell)}, {system(cell)}"),
    made=(MADE, "Which of MEST's methods the paper shows is not told: both."),
)
