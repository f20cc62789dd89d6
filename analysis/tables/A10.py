"""SpFDE Table A10: freezing, sieving, or both, in blocks of similar FLOPs."""

from collections.abc import Sequence

from analysis.layout import Definition, Entry, Item, Layout
from analysis.names import percent
from analysis.protocol import Spec
from analysis.quantities import ACCURACY, REDUCTION

COLUMNS = {
    "Freeze + Data Sieve": (True, True),
    "Freeze only": (True, False),
    "Data Sieve only": (False, True),
}


def arrange(cells: Sequence[Spec]) -> Layout:
    """The targets, a row of FLOPs reductions and a row of accuracies per block, in the sweep file's order."""
    used = [(cell.values["freeze.target"] > 0, cell.values["sieve.ratio"] > 0) for cell in cells]
    columns = [[index for index, parts in enumerate(used) if parts == wanted] for wanted in COLUMNS.values()]
    rows: list[tuple[str, tuple[Item, ...]]] = []
    for block in zip(*columns, strict=True):
        rows.append(("Target", tuple(_target(cells[index]) for index in block)))
        rows.append(("FLOPs reduction %", tuple(Entry(index, REDUCTION) for index in block)))
        rows.append(("Accuracy %", tuple(Entry(index, ACCURACY) for index in block)))
    return Layout(("", *COLUMNS), tuple(rows))


def _target(cell: Spec) -> str:
    freeze, sieve = cell.values["freeze.target"], cell.values["sieve.ratio"]
    return " + ".join(percent(part) for part in (freeze, sieve) if part)


TABLE = Definition(id="A10", source="SpFDE Table A10", arrange=arrange)
