"""What a report's first page tells: how much of each table and figure there is, and how far it is from the papers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis.build import Cell, Table
from analysis.drawing.drawn import Drawn
from analysis.quantities import ACCURACY
from analysis.report.fields import place
from analysis.report.items import Item
from analysis.text import difference, printed, shown

LARGEST = 12  # differences of a kind that are listed


@dataclass(frozen=True)
class Coverage:
    """How much of a table or figure there is.

    Attributes:
        item: the table or figure.
        filled, total: numbers or points that there are, and that there are to be; 0 of 0 where nothing is trained.
        runs: the same of its runs.
        seeds: fewest and most runs behind a number; None without any.
        compared: numbers that have a printed one beside them.
        beyond: those of them that differ by more than seeds explain.
    """

    item: Item
    filled: int
    total: int
    runs: tuple[int, int]
    seeds: tuple[int, int] | None
    compared: int
    beyond: int

    @property
    def percent(self) -> int:
        """Share that is filled, rounded down."""
        return 100 * self.filled // self.total if self.total else 100

    @property
    def seeds_text(self) -> str:
        """``3``, or ``1 to 3``."""
        if self.seeds is None:
            return ""
        low, high = self.seeds
        return str(low) if low == high else f"{low} to {high}"


def coverage(item: Item) -> Coverage:
    """How much of `item` there is."""
    if isinstance(item.made, Table):
        cells = [cell for _, _, cell in _cells(item.made) if cell.n is not None]
        counts = [cell.n for cell in cells if cell.n]
        compared = [cell for cell in cells if cell.difference is not None]
        beyond = sum(bool(cell.beyond_noise) for cell in compared)
        return Coverage(item, len(counts), len(cells), item.made.runs, _range(counts), len(compared), beyond)
    if isinstance(item.made, Drawn):
        points = [point for panel in item.made.panels for series in panel.series for point in series.points]
        filled, total = item.made.points if item.made.runs[1] else (0, 0)
        return Coverage(
            item, filled, total, item.made.runs, _range([p.n for p in points if p.n and p.signatures]), 0, 0
        )
    return Coverage(item, 0, 0, (0, 0), None, 0, 0)


def _range(counts: Sequence[int]) -> tuple[int, int] | None:
    return (min(counts), max(counts)) if counts else None


@dataclass(frozen=True)
class Deviation:
    """A number and the printed one.

    Attributes:
        table: id of the table.
        place: id of the field on its page.
        row, column: labels.
        cell: the number.
    """

    table: str
    place: str
    row: str
    column: str
    cell: Cell

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """Ours, the paper's, the difference, and that in percent of the paper's."""
        relative = self.relative
        percent = "" if relative is None else f"{100 * relative:+.2f} %"
        return shown(self.cell), printed(self.cell), difference(self.cell), percent

    @property
    def relative(self) -> float | None:
        """Difference as a share of the printed value."""
        assert self.cell.difference is not None
        return self.cell.difference / abs(self.cell.printed) if self.cell.printed else None

    @property
    def verdict(self) -> str:
        """Whether seeds explain it."""
        return {None: "cannot be told", True: "beyond noise", False: "within noise"}[self.cell.beyond_noise]


def deviations(items: Sequence[Item]) -> tuple[list[Deviation], list[Deviation]]:
    """The largest differences to the papers: of accuracies by points, of all else by their share of the printed value.

    A number that stands in several tables is listed for each: the papers print it each time.
    """
    found = [
        Deviation(item.made.id, place(row, column), item.made.rows[row - 1][0], item.made.head[column], cell)
        for item in items
        if isinstance(item.made, Table)
        for row, column, cell in _cells(item.made)
        if cell.difference
    ]
    accuracies = [one for one in found if one.cell.quantity.name == ACCURACY.name]
    others = [one for one in found if one.cell.quantity.name != ACCURACY.name]
    accuracies.sort(key=lambda one: -abs(one.cell.difference or 0))
    others.sort(key=lambda one: -abs(one.relative or 0))
    return accuracies[:LARGEST], others[:LARGEST]


def _cells(table: Table) -> Iterator[tuple[int, int, Cell]]:
    """Each number with its row and column, from 1 on."""
    for row, (_, items) in enumerate(table.rows, 1):
        for column, item in enumerate(items, 1):
            if isinstance(item, Cell):
                yield row, column, item
