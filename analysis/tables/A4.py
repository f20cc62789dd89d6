"""SpFDE Table A4: first freezing epoch of ResNet-32, from the solver."""

from analysis.layout import Definition, pivot
from analysis.names import ratio
from analysis.quantities import T_FREEZE

TABLE = Definition(
    id="A4",
    source="SpFDE Table A4",
    arrange=pivot(lambda cell: T_FREEZE.title, ratio("freeze.target"), (T_FREEZE,), corner="Target FLOPs saving"),
)
