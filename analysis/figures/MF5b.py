"""MEST Figure 5 (b): sparsity schemes with MEST+EM&S."""

from analysis.drawing.panel import Figure
from analysis.drawing.points import MADE, SPARSITY, over
from analysis.names import variant

FIGURE = Figure(id="MF5b", source="MEST Figure 5 (b)", arrange=over(SPARSITY, variant), made=(MADE,))
