"""How the series of a panel are drawn: one function per kind of picture."""

from typing import TYPE_CHECKING

from analysis.drawing import style
from analysis.drawing.panel import Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKED = 7  # markers along a curve
BAND = 0.18  # opacity of what lies within a standard deviation of a curve


def lines(axes: "Axes", panel: Panel) -> None:
    """A line per series, with bars of a standard deviation; x is a number."""
    _spread(axes, panel, {})


def ordered(axes: "Axes", panel: Panel) -> None:
    """The same with categories on the x axis, evenly spaced, in the order of the first series that has them all."""
    names = categories(panel)
    axes.set_xticks(range(len(names)), names)
    _spread(axes, panel, {name: float(place) for place, name in enumerate(names)})


def _spread(axes: "Axes", panel: Panel, where: dict[str, float]) -> None:
    for series in shown(panel):
        x = [where[point.x] if isinstance(point.x, str) else point.x for point in series.points]
        y, std = [point.y for point in series.points], [point.std or 0.0 for point in series.points]
        axes.errorbar(x, y, std if any(std) else None, label=series.name, capsize=2, elinewidth=0.8,
                      **style.line(series.place))  # fmt: skip


def curves(axes: "Axes", panel: Panel) -> None:
    """A line per series over many epochs, with a band of a standard deviation and a few markers."""
    for series in shown(panel):
        look = style.line(series.place)
        x, y = [float(point.x) for point in series.points], [point.y for point in series.points]
        step = max(1, len(x) // MARKED)
        axes.plot(x, y, label=series.name, markevery=(series.place * step // 5 % step, step), **look)
        if any(point.std for point in series.points):
            low = [point.y - (point.std or 0) for point in series.points]
            high = [point.y + (point.std or 0) for point in series.points]
            axes.fill_between(x, low, high, color=look["color"], alpha=BAND, linewidth=0)


def bars(axes: "Axes", panel: Panel) -> None:
    """Groups of bars, one group per category of x and one bar per series."""
    names, all_shown = categories(panel), shown(panel)
    width = 0.85 / max(1, len(all_shown))
    axes.set_xticks(range(len(names)), names)
    axes.grid(False, axis="x")
    for number, series in enumerate(all_shown):
        shift = (number - (len(all_shown) - 1) / 2) * width
        x = [names.index(str(point.x)) + shift for point in series.points]
        axes.bar(x, [point.y for point in series.points], width, label=series.name, **style.bar(series.place))


def shown(panel: Panel) -> list[Series]:
    """The series that have points."""
    return [series for series in panel.series if series.points]


def categories(panel: Panel) -> list[str]:
    """Names along the x axis, as they first come."""
    return list(dict.fromkeys(str(point.x) for series in panel.series for point in series.points))
