"""SpFDE Table A10: freezing, sieving, or both, in blocks of similar FLOPs."""

from collections.abc import Sequence

from analysis.layout import Definition, Layout, Values, percent

COLUMNS = {
    "Freeze + Data Sieve": (True, True),
    "Freeze only": (True, False),
    "Data Sieve only": (False, True),
}


def arrange(cells: Sequence[Values]) -> Layout:
    """A row of FLOPs reductions and a row of accuracies per block, in the sweep file's order."""
    used = [(cell["freeze.target"] > 0, cell["sieve.ratio"] > 0) for cell in cells]
    columns = [[index for index, parts in enumerate(used) if parts == wanted] for wanted in COLUMNS.values()]
    rows: list[tuple[str, tuple[int | str, ...]]] = []
    for block in zip(*columns, strict=True):
        rows.append(("FLOPs reduction", tuple(_reduction(cells[index]) for index in block)))
        rows.append(("Accuracy", block))
    return Layout(("", *COLUMNS), tuple(rows))


def _reduction(cell: Values) -> str:
    """Of both together, (1 - x) (1 - y) of the training is left."""
    freeze, sieve = cell["freeze.target"], cell["sieve.ratio"]
    both = percent(1 - (1 - freeze) * (1 - sieve))
    return f"{both} ({percent(freeze)} + {percent(sieve)})" if freeze and sieve else both


TABLE = Definition(id="A10", source="SpFDE Table A10", arrange=arrange)
