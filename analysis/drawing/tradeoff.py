"""Accuracy over acceleration, with memory as the size of a circle (MEST Figures 5 (c) and H.1 (c))."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from analysis.drawing import shapes
from analysis.drawing.panel import Arrange, Panel, Point, Series
from analysis.drawing.points import ACCURACY_LABEL, point
from analysis.names import variant
from analysis.protocol import Spec
from analysis.quantities import FLOPS_SPEEDUP, MEMORY_MB, SPEEDUP, Quantity

if TYPE_CHECKING:
    import pandas as pd

    from analysis.match import Match

MADE = (
    "Circles are as large in area as the memory of weights, gradients and indices (MEST Table A.1). Acceleration is "
    "told twice. In seconds: epoch time of dense training divided by that of a run, measured on this machine, of runs"
    " that had its device to themselves. Masks are simulated, so that only fewer examples save time. In FLOPs: those "
    "of dense training divided by those that a run executed, with masked weights counted as free, which no general "
    "hardware reaches. The paper measured on a phone."
)


def tradeoff(only: Callable[[Spec], bool] = lambda cell: True, letter: str = "") -> Arrange:
    """Two panels of numbered circles: acceleration in seconds and in FLOPs."""

    def arrange(found: "Match") -> list[Panel]:
        cells = {index: cell for index, cell in enumerate(found.protocol.cells) if only(cell)}
        alone, left = _timed(found, cells)
        clock = _panel(found, cells, f"{letter}measured in seconds", SPEEDUP, alone)
        flops = _panel(found, cells, f"{letter}counted in FLOPs", FLOPS_SPEEDUP, {})
        return [replace(clock, notes=tuple(left)), flops]

    return arrange


def _is_dense(cell: Spec) -> bool:
    return bool(cell.values["method.name"] == "dense")


def _timed(found: "Match", cells: dict[int, Spec]) -> tuple[dict[int, "pd.DataFrame"], list[str]]:
    """The runs whose seconds can be compared, by cell."""
    import pandas as pd

    from analysis.timing import comparable

    kept, left = comparable(pd.concat([found.runs[i] for i in cells]), list(cells.values()), _is_dense)
    return {index: kept[kept["cell"] == cell.key] for index, cell in cells.items()}, left


def _panel(
    found: "Match", cells: dict[int, Spec], title: str, speed: Quantity, timed: "dict[int, pd.DataFrame]"
) -> Panel:
    """One circle per configuration; those of one method have one colour."""
    runs = found.runs | timed
    same = replace(found, runs=runs)
    base = next((runs[index] for index, cell in cells.items() if _is_dense(cell)), None)
    methods = list(dict.fromkeys(cell.values["method.name"] for cell in cells.values()))
    first: dict[str, int] = {}
    for index, cell in cells.items():
        first.setdefault(cell.key, index)
    series = []
    for number, index in enumerate(first.values(), start=1):
        cell = cells[index]
        y = point(same, index, "")
        x, size = (point(same, index, "", quantity, base) for quantity in (speed, MEMORY_MB))
        circle = () if not (x and y and size) else (
            Point(x.y, y.y, y.std, y.n, y.signatures, {"x_std": x.std, "memory_mb": size.y}),
        )  # fmt: skip
        series.append(Series(f"{number}  {variant(cell)}", circle, methods.index(cell.values["method.name"])))
    count = (sum(bool(one.points) for one in series), len(series))
    draw = partial(shapes.circles, size="memory_mb", colours={one.name: one.place for one in series})
    return Panel(title, "times as fast as dense", ACCURACY_LABEL, tuple(series), draw, count, size=(3.5, 3.2))
