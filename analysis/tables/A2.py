"""SpFDE Table A2: update ratio of the sieve."""

from analysis.layout import Definition, pivot
from analysis.names import ratio

TABLE = Definition(
    id="A2",
    source="SpFDE Table A2",
    arrange=pivot(ratio("sieve.ratio", "remove"), ratio("sieve.update_ratio"), corner="Update ratio"),
)
