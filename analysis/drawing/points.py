"""From matched runs to points: means over seeds, sorted into panels and series."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import TYPE_CHECKING, NamedTuple

from analysis.drawing import shapes
from analysis.drawing.panel import Arrange, Draw, Panel, Point, Series, Value
from analysis.names import Name
from analysis.protocol import Spec
from analysis.quantities import ACCURACY, Quantity

if TYPE_CHECKING:
    from analysis.match import Match

ACCURACY_LABEL = "test accuracy (%)"
MADE = "Test accuracy after the last epoch: mean over seeds, with bars of one sample standard deviation."


class Axis(NamedTuple):
    """What is along x: a label with a unit, and where a cell belongs."""

    label: str
    of: Callable[[Spec], Value]


class Item(NamedTuple):
    """Where a quantity of a cell is drawn."""

    panel: str
    series: str
    x: Value
    cell: int
    quantity: Quantity = ACCURACY


SPARSITY = Axis("sparsity (%)", lambda cell: round(100 * cell.values["sparsity.target"], 6))


def over(
    x: Axis,
    series: Name,
    panel: Name = lambda cell: "",
    quantity: Quantity = ACCURACY,
    label: str = ACCURACY_LABEL,
    only: Callable[[Spec], bool] = lambda cell: True,
    draw: Draw = shapes.lines,
) -> Arrange:
    """A line per series over `x`.

    Args:
        series: name of a cell's line.
        panel: title of its panel.
        label: of the y axis.
        only: which cells are drawn.

    Raises:
        ValueError: cells of different configurations have the same place.
    """

    def arrange(found: "Match") -> list[Panel]:
        cells = found.protocol.cells
        items = [
            Item(panel(cell), series(cell), x.of(cell), index, quantity)
            for index, cell in enumerate(cells) if only(cell)
        ]  # fmt: skip
        return panels(found, items, x.label, label, draw)

    return arrange


def panels(found: "Match", items: Iterable[Item], x: str, y: str, draw: Draw) -> list[Panel]:
    """`items` by panel and series, in their order; those of equal cells are one."""
    cells = found.protocol.cells
    places: dict[tuple[str, str, Value], Item] = {}
    for item in items:
        first = places.setdefault((item.panel, item.series, item.x), item)
        if cells[first.cell].key != cells[item.cell].key:
            raise ValueError(f"cells {first.cell + 1} and {item.cell + 1} have the same place")
    titles = list(dict.fromkeys(item.panel for item in places.values()))
    names = list(dict.fromkeys(item.series for item in places.values()))
    answer = []
    for title in titles:
        mine = [item for item in places.values() if item.panel == title]
        known = {item: made for item in mine if (made := point(found, item.cell, item.x, item.quantity))}
        series = [
            Series(
                name, tuple(known[item] for item in mine if item.series == name and item in known), names.index(name)
            )
            for name in names
        ]
        answer.append(Panel(title, x, y, tuple(series), draw, (len(known), len(mine))))
    return answer


def point(found: "Match", cell: int, x: Value, quantity: Quantity = ACCURACY) -> Point | None:
    """Mean and deviation of a quantity over the runs of a cell; None without any."""
    runs = found.runs[cell]
    values = [value / quantity.unit for value in quantity.of(runs, runs.iloc[:0])]
    if not values:
        return None
    names = () if found.planned else tuple(runs["signature"])
    return Point(
        x,
        mean(values),
        stdev(values) if len(values) > 1 else None,
        None if found.planned else len(values),
        names,
    )


def together(*arranges: Arrange) -> Arrange:
    """The panels of several, one after another; each has series of its own, which go on counting."""

    def arrange(found: "Match") -> list[Panel]:
        answer: list[Panel] = []
        names: list[str] = []
        for part in arranges:
            for panel in part(found):
                names += [series.name for series in panel.series if series.name not in names]
                placed = tuple(replace(series, place=names.index(series.name)) for series in panel.series)
                answer.append(replace(panel, series=placed))
        return answer

    return arrange


def titled(titles: Sequence[str], arrange: Arrange) -> Arrange:
    """Its panels under other titles."""
    return lambda found: [replace(panel, title=title) for panel, title in zip(arrange(found), titles, strict=True)]
