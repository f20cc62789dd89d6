"""MEST Figure 4: length of the first phase, ResNet-32 on CIFAR-10."""

from analysis.drawing.panel import Figure
from analysis.drawing.phases import MADE, grids

FIGURE = Figure(id="MF4", source="MEST Figure 4", arrange=grids, made=MADE)
