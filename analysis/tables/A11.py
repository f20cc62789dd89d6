"""SpFDE Table A11: seconds that layer freezing saves."""

from analysis.layout import Definition, pivot
from analysis.names import ratio
from analysis.quantities import ACCELERATION, EPOCH_TIME, PER_REDUCTION, REDUCTION

TABLE = Definition(
    id="A11",
    source="SpFDE Table A11",
    arrange=pivot(
        ratio("freeze.target"),
        None,
        (REDUCTION, EPOCH_TIME, ACCELERATION, PER_REDUCTION),
        corner="FLOPs reduction (layer freezing)",
    ),
    baseline=lambda cell: not cell.values["freeze.target"],
)
