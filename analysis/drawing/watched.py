"""Curves over the epochs of watched runs: from the files of their hooks (docs/hooks.md) to panels."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from analysis.drawing import shapes
from analysis.drawing.panel import Arrange, Panel, Point, Series
from analysis.names import Name
from analysis.plans import scheduled
from analysis.protocol import Spec
from spfde_exp.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.match import Match

MADE = (
    "docs/hooks.md tells how runs are watched. With several seeds: their mean, with a band of one standard deviation."
)

CKA = "CKA with the final network"

Layers: TypeAlias = Callable[[Spec], dict[str, str]]  # label -> name of the module
Curves: TypeAlias = dict[str, tuple[Point, ...]]


def numbered(*numbers: int, of: int = 32) -> Layers:
    """The layers with these numbers in a network of `of`, counted from 1 without shortcuts as the papers do.

    In a network of another depth they are those that are as deep, of all its layers.
    """

    def layers(cell: Spec) -> dict[str, str]:
        names = _counted(scheduled(cell)["layers"])
        places = [round((number - 1) / (of - 1) * (len(names) - 1)) for number in numbers]
        return _labelled(names, places)

    return layers


def spread(count: int, masked: bool = False) -> Layers:
    """The first, the last, and evenly many between; of the layers that have a mask, or of all."""

    def layers(cell: Spec) -> dict[str, str]:
        plan = scheduled(cell)
        names = _counted(plan["layers"])
        among = [place for place, name in enumerate(names) if name in plan["masked"] or not masked]
        return _labelled(names, [among[round(step / (count - 1) * (len(among) - 1))] for step in range(count)])

    return layers


def _counted(layers: list[str]) -> list[str]:
    return [name for name in layers if "shortcut" not in name.split(".")]


def _labelled(names: list[str], places: list[int]) -> dict[str, str]:
    return {f"layer {place + 1} of {len(names)}": names[place] for place in places}


def per_layer(
    hook: str,
    layers: Layers,
    label: str,
    *,
    part: str | None = None,
    change: Callable[["pd.DataFrame"], "pd.DataFrame"] = lambda frame: frame,
) -> Arrange:
    """A curve per layer of the runs of the only cell.

    Args:
        hook: the file, and `part` of its rows, see `analysis.curves.load_hook`.
        label: of the y axis.
        change: from what the file has to what is drawn.
    """

    def arrange(found: "Match") -> list[Panel]:
        names = layers(found.protocol.cells[0])
        curves, notes = _watched(found, 0, hook, part, lambda frame: _picked(change(frame), names))
        series = tuple(Series(name, curves.get(name, ()), place) for place, name in enumerate(names))
        cells = (len(curves), len(names))
        return [Panel("", "epoch", label, series, shapes.curves, cells, (*notes, _told(names)))]

    return arrange


def per_cell(hook: str, name: Name, layers: Layers, label: str) -> Arrange:
    """A panel per layer, with a curve per cell."""

    def arrange(found: "Match") -> list[Panel]:
        names = layers(found.protocol.cells[0])
        read = [
            _watched(found, index, hook, None, lambda frame: _picked(frame, names))
            for index in range(len(found.protocol.cells))
        ]
        notes = [note for _, told in read for note in told]
        answer = []
        for layer in names:
            series = tuple(
                Series(name(cell), curves.get(layer, ()), place)
                for place, (cell, (curves, _)) in enumerate(zip(found.protocol.cells, read, strict=True))
            )
            cells = (sum(bool(curve.points) for curve in series), len(series))
            title = layer if len(names) > 1 else ""
            answer.append(
                Panel(title, "epoch", label, series, shapes.curves, cells, (*notes, _told(names)), (2.4, 2.0))
            )
        return answer

    return arrange


def counted(
    read: Callable[["pd.DataFrame"], "pd.Series"],
    name: Name,
    label: str,
    *,
    title: str = "",
    only: Callable[[Spec], bool] = lambda cell: True,
    window: tuple[float, float] = (0, 1),
    marked: bool = False,
) -> Arrange:
    """A panel of what `hooks.unforgettable` counted, with a curve per cell.

    Args:
        read: from its rows to what is drawn.
        window: of the epochs, as shares of the run.
        marked: whether lines stand where masks change, instead of bands of a standard deviation.
    """

    def arrange(found: "Match") -> list[Panel]:
        cells = {index: cell for index, cell in enumerate(found.protocol.cells) if only(cell)}
        series, notes, changes = [], [], set[float]()
        for place, (index, cell) in enumerate(cells.items()):
            low, high = (share * cell.values["epochs"] for share in window)
            curves, told = _watched(found, index, "unforgettable", None, lambda frame: read(frame).to_frame(""))
            points = tuple(point for point in curves.get("", ()) if low <= float(point.x) <= high)
            series.append(Series(name(cell), points, place))
            notes += told
            if marked:  # an update at the start of epoch e, counted from 0, comes before the x of e + 1
                changes |= {e + 0.5 for e in scheduled(cell)["updates"] if low <= e <= high}
        count = (sum(bool(curve.points) for curve in series), len(series))
        draw = partial(shapes.curves, marks=sorted(changes), band=not marked)
        return [Panel(title, "epoch", label, tuple(series), draw, count, tuple(notes))]

    return arrange


def _picked(frame: "pd.DataFrame", names: Mapping[str, str]) -> "pd.DataFrame":
    return frame.reindex(columns=list(names.values())).set_axis(list(names), axis=1)


def _told(names: Mapping[str, str]) -> str:
    return "layers: " + ", ".join(f"{label} is {name}" for label, name in names.items())


def _watched(
    found: "Match", index: int, hook: str, part: str | None, pick: Callable[["pd.DataFrame"], "pd.DataFrame"]
) -> tuple[Curves, list[str]]:
    """Mean over the runs of a cell, epoch by epoch, of each column that `pick` makes; and what was left out."""
    import pandas as pd

    from analysis.curves import load_hook

    runs, frames, names, left = found.runs[index], [], [], []
    epochs = found.protocol.cells[index].values["epochs"]
    for path, signature in zip(runs["path"], runs["signature"], strict=True):
        try:
            frame = load_hook(Path(path), hook, part) if isinstance(path, str) else pd.DataFrame()
        except UserError:
            frame = pd.DataFrame()
        if len(frame) == epochs:
            frames.append(pick(frame))
            names.append(signature)
        else:
            left.append(f"left out: run {signature}, whose hooks/{hook}.jsonl is not there, or not whole")
    if not frames:
        return {}, left
    every = pd.concat(frames)
    curves = {str(label): _means(every[label], tuple(names)) for label in every.columns}
    return {label: points for label, points in curves.items() if points}, left


def _means(values: "pd.Series", names: tuple[str, ...]) -> tuple[Point, ...]:
    """A point per epoch, of what the runs `names` have; an epoch that none has a number for has no point."""
    groups = values.dropna().groupby(level=0)
    means, counts = groups.mean(), groups.count().tolist()
    return tuple(
        Point(epoch, mean, std if count > 1 else None, count, names)
        for epoch, mean, std, count in zip(
            means.index.tolist(), means.tolist(), groups.std().tolist(), counts, strict=True
        )
    )
