"""How the series of a panel are drawn: one function per kind of picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from analysis.drawing import style
from analysis.drawing.panel import Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKED = 7  # markers along a curve
BAND = 0.18  # opacity of what lies within a standard deviation of a curve
LARGEST = 260  # square points: area of the largest circle
LABEL, NEAR, ASIDE = 0.12, 0.3, 0.2  # inches: height of a label; what is one column of them; and how far off it is


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


def curves(axes: "Axes", panel: Panel, marks: Sequence[float] = (), band: bool = True) -> None:
    """A line per series over many epochs, with a band of a standard deviation and a few markers.

    Args:
        marks: where vertical lines stand.
        band: whether there is one.
    """
    for mark in marks:
        axes.axvline(mark, color="#888888", linewidth=0.6, linestyle=(0, (2, 2)))
    for series in shown(panel):
        look = style.line(series.place)
        x, y = [float(point.x) for point in series.points], [point.y for point in series.points]
        step = max(1, len(x) // MARKED)
        axes.plot(x, y, label=series.name, markevery=(series.place * step // 5 % step, step), **look)
        if band and any(point.std for point in series.points):
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
        drawn = axes.bar(x, [point.y for point in series.points], width, label=series.name, **style.bar(series.place))
        axes.bar_label(drawn, fmt="%.3g", fontsize=7, padding=1)


def circles(axes: "Axes", panel: Panel, size: str, colours: Mapping[str, int]) -> None:
    """A circle per series, whose area goes by the column `size`, and beside it the number that its name begins with.

    Args:
        colours: name of a series -> number of its colour; the numbers tell circles apart without any.
    """
    all_shown = shown(panel)
    points = [series.points[0] for series in all_shown]
    sizes = [float(point.more[size] or 0) for point in points]
    x, y = [float(point.x) for point in points], [point.y for point in points]
    for series, one, other, area in zip(all_shown, x, y, sizes, strict=True):
        colour = style.COLOURS[colours[series.name] % len(style.COLOURS)]
        axes.scatter([one], [other], LARGEST * area / max(sizes), color=colour, alpha=0.5, edgecolor=colour)
        axes.plot([], [], "o", color=colour, label=series.name)
    axes.margins(0.18)
    places = apart(axes, panel.size, list(zip(x, y, strict=True)))
    for series, one, other, place in zip(all_shown, x, y, places, strict=True):
        axes.annotate(
            series.name.split()[0], (one, other), place, ha="left", va="center", fontsize=7,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "#555555", "shrinkA": 0.5, "shrinkB": 0},
        )  # fmt: skip


def apart(axes: "Axes", size: tuple[float, float], spots: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where labels of `spots` can stand, in data: right of them, and none on another.

    Spots that are next to each other get a column of labels in the order of their heights, as near to them as the
    height of a label allows.

    Args:
        size: of the panel in inches.
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    inch = (right - left) / (size[0] - 0.6), (top - bottom) / (size[1] - 0.8)  # in data, without the axes' labels
    order = sorted(range(len(spots)), key=lambda index: spots[index])
    columns: list[list[int]] = []
    for index in order:
        if columns and spots[index][0] - spots[columns[-1][-1]][0] < NEAR * inch[0]:
            columns[-1].append(index)
        else:
            columns.append([index])
    answer = dict[int, tuple[float, float]]()
    for column in columns:
        column.sort(key=lambda index: spots[index][1])
        across = max(spots[index][0] for index in column) + ASIDE * inch[0]
        heights = spaced([spots[index][1] for index in column], LABEL * inch[1])
        answer |= {index: (across, height) for index, height in zip(column, heights, strict=True)}
    return [answer[index] for index in range(len(spots))]


def spaced(values: Sequence[float], least: float) -> list[float]:
    """Ascending numbers moved as little as possible (in squares) so that neighbours are `least` apart."""
    groups: list[list[float]] = []  # of what stands `least` apart: mean of where its first would be, and count
    for place, value in enumerate(values):
        groups.append([value - place * least, 1])
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (one, first), (other, second) = groups[-2:]
            groups[-2:] = [[(one * first + other * second) / (first + second), first + second]]
    starts = [start for start, count in groups for _ in range(int(count))]
    return [start + place * least for place, start in enumerate(starts)]


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
        names = ["" if panel.beside else series.name for series in panel.series]
        axes.set_yticks([row + 0.5 for row in range(rows)], names)
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
    rows, depths, edges = blocks + 1, list[float](), [0]
    for depth, same in groupby(point.y for point in series.points):
        depths.append(depth)
        edges.append(edges[-1] + len(list(same)))
    axes.grid(False)
    axes.stairs([rows], [0, edges[-1]], fill=True, color=style.BLUE, label="trained")
    axes.stairs(depths, edges, fill=True, facecolor=style.GREY, edgecolor="#888888", hatch="////", linewidth=0,
                label="frozen")  # fmt: skip
    for row in range(1, rows):
        axes.axhline(row, color="white", linewidth=0.6)
    names = [str(block) for block in range(1, blocks + 1)] + ["classifier"]
    told = sorted({0, max(0, blocks // 3 - 1), max(0, 2 * blocks // 3 - 1), blocks})
    axes.set_yticks([row + 0.5 for row in told], [names[row] for row in told])
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, edges[-1]), ylim=(0, rows))


def shown(panel: Panel) -> list[Series]:
    """The series that have points."""
    return [series for series in panel.series if series.points]


def categories(panel: Panel) -> list[str]:
    """Names along the x axis, as they first come."""
    return list(dict.fromkeys(str(point.x) for series in panel.series for point in series.points))
