"""MEST Figure 5 (b): sparsity schemes with MEST+EM&S."""

from analysis.drawing.panel import Figure
from analysis.drawing.points import MADE, SPARSITY, over
from analysis.names import scheme_or_system

FIGURE = Figure(id="MF5b", source="MEST Figure 5 (b)", arrange=over(SPARSITY, scheme_or_system), made=(MADE,))
