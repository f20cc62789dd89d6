"""MEST Figure 5 (c): accuracy, acceleration and memory at 90 %."""

from analysis.drawing.panel import Figure
from analysis.drawing.tradeoff import MADE, tradeoff

FIGURE = Figure(id="MF5c", source="MEST Figure 5 (c)", arrange=tradeoff(), made=(MADE,))
