"""SpFDE Table A5: first freezing epoch of ResNet-50, from the solver."""

from analysis.layout import Definition, pivot
from analysis.names import ratio
from analysis.quantities import T_FREEZE

TABLE = Definition(
    id="A5",
    source="SpFDE Table A5",
    arrange=pivot(lambda cell: T_FREEZE.title, ratio("freeze.target"), (T_FREEZE,), corner="Target FLOPs saving"),
)
