"""How long the first phase of two-phase training must be: the grids of MEST Figures 4 and F.2."""

from collections.abc import Mapping
from dataclasses import replace
from math import hypot, sqrt
from typing import TYPE_CHECKING, TypeAlias

from analysis.drawing import shapes
from analysis.drawing.panel import Panel, Point, Series
from analysis.drawing.points import point
from analysis.names import dataset, model, sparsity, variant
from analysis.protocol import Spec, text_of

if TYPE_CHECKING:
    from analysis.match import Match

Rest: TypeAlias = frozenset[tuple[str, str]]

MADE = (
    "A field is the accuracy less that of training on all examples, in points; mean over seeds.",
    "Yellow and bold, similar: it is not lower by more than one standard deviation between seeds (pooled over both; "
    "none with one seed). The paper does not say what it calls similar.",
)


def grids(found: "Match") -> list[Panel]:
    """A panel per network, data set and threshold; a row per method, scheme and sparsity; a column per length."""
    cells = dict(enumerate(found.protocol.cells))
    whole = {_rest(cell): i for i, cell in cells.items() if cell.values["sieve.mode"] == "none"}
    two_phase = {i: cell for i, cell in cells.items() if cell.values["sieve.mode"] == "two_phase"}
    titles, rows = (list(dict.fromkeys(name(cell) for cell in two_phase.values())) for name in (_title, _row))
    answer: list[Panel] = []
    for title in titles:
        mine = {i: cell for i, cell in two_phase.items() if _title(cell) == title}
        series = [
            Series(
                row, tuple(p for i, cell in mine.items() if _row(cell) == row and (p := _field(found, i, whole))), place
            )
            for place, row in enumerate(rows)
        ]
        total = len({cell.key for cell in mine.values()})
        columns = tuple(sorted({cell.values["sieve.phase1_epochs"] for cell in mine.values()}))
        count = (sum(len(row.points) for row in series), total)
        beside = len(answer) % 2 == 1
        size = ((0.2 if beside else 2.1) + 0.48 * len(columns), 0.7 + 0.17 * len(rows))
        draw = shapes.Grid(columns)
        label = "epochs of the first phase"
        answer.append(Panel(title, label, "", tuple(series), draw, count, size=size, beside=beside))
    return answer


def _title(cell: Spec) -> str:
    return f"{model(cell)}, {dataset(cell)}, th = {cell.values['sieve.threshold']}"


def _row(cell: Spec) -> str:
    name = variant(cell).replace("+DE", "")
    return name if sparsity(cell) == "dense" else f"{name}, {sparsity(cell)}"


def _field(found: "Match", index: int, whole: Mapping[Rest, int]) -> Point | None:
    """Accuracy of a cell, and how it compares with that of the same training on all examples."""
    cell = found.protocol.cells[index]
    mine = point(found, index, cell.values["sieve.phase1_epochs"])
    all_data = point(found, whole[_rest(cell)], "")
    if mine is None or all_data is None:
        return mine
    difference = mine.y - all_data.y
    noise = hypot(mine.std or 0.0, all_data.std or 0.0) / sqrt(2)
    similar = "yes" if difference >= -noise else "no"
    told = {"all_data": all_data.y, "all_data_std": all_data.std, "difference": difference, "similar": similar}
    return replace(mine, more=told)


def _rest(cell: Spec) -> Rest:
    """Everything but the sieve."""
    return frozenset((key, text_of(value)) for key, value in cell.identity.items() if not key.startswith("sieve."))
