"""How the series of a panel are drawn: one function per kind of picture."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.drawing import style
from analysis.drawing.panel import Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKED = 7  # markers along a curve
BAND = 0.18  # opacity of what lies within a standard deviation of a curve
LARGEST = 420  # square points: area of the largest circle


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


def intervals(axes: "Axes", panel: Panel) -> None:
    """A line per series with bars from the column `low` to `high`, and a line at 1."""
    axes.axhline(1, color="#888888", linewidth=0.8)
    for series in shown(panel):
        x, y = [float(point.x) for point in series.points], [point.y for point in series.points]
        low, high = ([abs(point.y - float(point.more[end] or 0)) for point in series.points] for end in ("low", "high"))
        axes.errorbar(x, y, (low, high), label=series.name, capsize=2, elinewidth=0.8, **style.line(series.place))


def curves(axes: "Axes", panel: Panel, marks: tuple[float, ...] = (), scale: str = "linear") -> None:
    """A line per series over many epochs, with a band of a standard deviation and a few markers.

    Args:
        marks: where vertical lines stand.
        scale: of the y axis, ``linear`` or ``log``.
    """
    axes.set_yscale(scale)
    for mark in marks:
        axes.axvline(mark, color="#888888", linewidth=0.6, linestyle=(0, (2, 2)))
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


def circles(axes: "Axes", panel: Panel, size: str, largest: float) -> None:
    """A circle per series, with the number that its name begins with; its area goes by the column `size`."""
    from matplotlib.patheffects import withStroke

    for series in shown(panel):
        (point,), colour = series.points, style.line(series.place)["color"]
        area = LARGEST * float(point.more[size] or 0) / largest
        axes.scatter([float(point.x)], [point.y], area, color=colour, alpha=0.55, edgecolor=colour)
        axes.plot([], [], "o", color=colour, alpha=0.7, label=series.name)
        axes.annotate(
            series.name.split()[0], (float(point.x), point.y), ha="center", va="center", fontsize=7,
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )  # fmt: skip
    axes.margins(0.12)


@dataclass(frozen=True)
class Grid:
    """Rows of series, and a field per point with the difference in it; similar ones are yellow and bold.

    Attributes:
        columns: all values of x.
    """

    columns: tuple[int, ...]

    def __call__(self, axes: "Axes", panel: Panel) -> None:
        from matplotlib.patches import Rectangle

        rows = len(panel.series)
        axes.set(xlim=(0, len(self.columns)), ylim=(rows, 0))
        axes.set_xticks([place + 0.5 for place in range(len(self.columns))], [str(x) for x in self.columns])
        axes.set_yticks([row + 0.5 for row in range(rows)], [series.name for series in panel.series])
        axes.tick_params(length=0)
        axes.grid(False)
        for row, series in enumerate(panel.series):
            for point in series.points:
                column, similar = self.columns.index(int(point.x)), point.more.get("similar") == "yes"
                fill = style.YELLOW if similar else "white"
                axes.add_patch(Rectangle((column, row), 1, 1, facecolor=fill, edgecolor="#888888", linewidth=0.5))
                difference = point.more.get("difference")
                text = f"({point.y:.1f})" if difference is None else f"{difference:+.2f}"
                weight = "bold" if similar else "normal"
                axes.text(column + 0.5, row + 0.55, text, ha="center", va="center", fontsize=6.5, weight=weight)


def frozen(axes: "Axes", panel: Panel, blocks: int) -> None:
    """How many leading blocks rest, epoch by epoch: blue is trained, grey and hatched rests. The last row is the
    classifier's."""
    (series,) = panel.series
    epochs, rows = len(series.points), blocks + 1
    edges, depths = list(range(epochs + 1)), [point.y for point in series.points]
    axes.grid(False)
    axes.stairs([rows] * epochs, edges, fill=True, color=style.BLUE, label="trained")
    axes.stairs(depths, edges, fill=True, facecolor=style.GREY, edgecolor="#888888", hatch="////", linewidth=0,
                label="frozen")  # fmt: skip
    for row in range(1, rows):
        axes.axhline(row, color="white", linewidth=0.6)
    names = [str(block) for block in range(1, blocks + 1)] + ["classifier"]
    told = sorted({0, blocks // 3 - 1, 2 * blocks // 3 - 1, blocks - 1, blocks})
    axes.set_yticks([row + 0.5 for row in told if row >= 0], [names[row] for row in told if row >= 0])
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, epochs), ylim=(0, rows))


def shown(panel: Panel) -> list[Series]:
    """The series that have points."""
    return [series for series in panel.series if series.points]


def categories(panel: Panel) -> list[str]:
    """Names along the x axis, as they first come."""
    return list(dict.fromkeys(str(point.x) for series in panel.series for point in series.points))
