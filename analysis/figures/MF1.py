"""MEST Figure 1: accuracy over sparsity on ImageNet."""

from analysis.drawing.panel import Figure
from analysis.drawing.points import MADE, SPARSITY, over
from analysis.names import system

FIGURE = Figure(id="MF1", source="MEST Figure 1", arrange=over(SPARSITY, system), made=(MADE, "The runs of Table 2."))
