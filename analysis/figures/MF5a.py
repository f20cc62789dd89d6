"""MEST Figure 5 (a): sparsity schemes with MEST+EM."""

from analysis.drawing.panel import Figure
from analysis.drawing.points import MADE, SPARSITY, over
from analysis.names import scheme_or_system

FIGURE = Figure(id="MF5a", source="MEST Figure 5 (a)", arrange=over(SPARSITY, scheme_or_system), made=(MADE,))
