"""SpFDE Table A12: seconds that data sieving saves."""

from analysis.layout import Definition, pivot
from analysis.names import ratio
from analysis.quantities import ACCELERATION, EPOCH_TIME, PER_REDUCTION, REDUCTION

TABLE = Definition(
    id="A12",
    source="SpFDE Table A12",
    arrange=pivot(
        ratio("sieve.ratio"),
        None,
        (REDUCTION, EPOCH_TIME, ACCELERATION, PER_REDUCTION),
        corner="FLOPs reduction (partial dataset)",
    ),
    baseline=lambda cell: not cell.values["sieve.ratio"],
)
