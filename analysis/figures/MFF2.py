"""MEST Figure F.2: length of the first phase, other networks and data."""

from analysis.drawing.panel import Figure
from analysis.drawing.phases import MADE, grids

FIGURE = Figure(id="MFF2", source="MEST Figure F.2", arrange=grids, made=MADE)
