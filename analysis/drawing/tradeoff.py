"""Accuracy over acceleration, with memory as the size of a circle (MEST Figures 5 (c) and H.1 (c))."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from analysis.drawing import shapes
from analysis.drawing.panel import Arrange, Panel, Series
from analysis.drawing.points import ACCURACY_LABEL, point
from analysis.names import variant
from analysis.protocol import Spec
from analysis.quantities import EPOCH_TIME, MEMORY_MB, TRAIN_FLOPS, TRAIN_FLOPS_DENSE

if TYPE_CHECKING:
    from analysis.match import Match

Speed: TypeAlias = tuple[float, dict[str, float | None]]  # against dense, and further columns

MADE = (
    "Circles are as large in area as the memory of weights, gradients and indices (MEST Table A.1). Acceleration is "
    "told twice. In seconds: mean epoch time of dense training divided by that of the runs, all of which had the same "
    "device to themselves; masks are simulated, so that only fewer examples save time. In FLOPs: those of dense "
    "training divided by those that the runs executed, with masked weights counted as free, which no general hardware "
    "reaches. The paper measured on a phone."
)


def tradeoff(only: Callable[[Spec], bool] = lambda cell: True, letter: str = "") -> Arrange:
    """Two panels of numbered circles: acceleration in seconds and in FLOPs."""

    def arrange(found: "Match") -> list[Panel]:
        cells = {index: cell for index, cell in enumerate(found.protocol.cells) if only(cell)}
        dense = next((i for i, cell in cells.items() if cell.values["method.name"] == "dense"), None)
        alone, left = _timed(found, cells)

        def seconds(cell: int) -> Speed | None:
            mine, base = (None if i is None else point(alone, i, "", EPOCH_TIME) for i in (cell, dense))
            return (base.y / mine.y, {"seconds": mine.y, "seconds_std": mine.std}) if mine and base else None

        def flops(cell: int) -> Speed | None:
            mine, base = (point(found, cell, "", quantity) for quantity in (TRAIN_FLOPS, TRAIN_FLOPS_DENSE))
            return (base.y / mine.y, {}) if mine and base else None

        clock = _panel(alone, cells, f"{letter}measured in seconds", seconds)
        return [replace(clock, notes=tuple(left)), _panel(found, cells, f"{letter}counted in FLOPs", flops)]

    return arrange


def _timed(found: "Match", cells: dict[int, Spec]) -> tuple["Match", list[str]]:
    """Only the runs whose seconds can be compared, and what was left out."""
    import pandas as pd

    from analysis.timing import comparable

    runs = pd.concat([found.runs[i] for i in cells])
    kept, left = comparable(runs, list(cells.values()), _is_dense, found.protocol.seeds)
    return replace(found, runs={index: kept[kept["cell"] == cell.key] for index, cell in cells.items()}), left


def _is_dense(cell: Spec) -> bool:
    return bool(cell.values["method.name"] == "dense")


def _panel(found: "Match", cells: dict[int, Spec], title: str, speed: Callable[[int], Speed | None]) -> Panel:
    """One circle per configuration; those of one method have one colour."""
    methods = list(dict.fromkeys(cell.values["method.name"] for cell in cells.values()))
    first: dict[str, int] = {}
    for index, cell in cells.items():
        first.setdefault(cell.key, index)
    series = []
    for number, index in enumerate(first.values(), start=1):
        cell = cells[index]
        y, size, x = point(found, index, ""), point(found, index, "", MEMORY_MB), speed(index)
        circle = (replace(y, x=x[0], more={"memory_mb": size.y, **x[1]}),) if x and y and size else ()
        series.append(Series(f"{number}  {variant(cell)}", circle, methods.index(cell.values["method.name"])))
    count = (sum(bool(one.points) for one in series), len(series))
    draw = partial(shapes.circles, size="memory_mb", colours={one.name: one.place for one in series})
    return Panel(title, "times as fast as dense", ACCURACY_LABEL, tuple(series), draw, count, size=(3.5, 3.2))
