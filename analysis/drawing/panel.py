"""What a figure shows, as data: panels of series of points. Needs neither matplotlib nor pandas."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.match import Match

Value: TypeAlias = float | str  # a category has a name


@dataclass(frozen=True)
class Point:
    """One number of a figure.

    Attributes:
        x: where it is drawn, in the unit of the panel's axis.
        y: its value, in the unit of the panel's axis; a mean where several runs are behind it.
        std: sample standard deviation (n - 1) of `y`; None below two runs.
        n: how many runs or measurements; None for what a plan tells.
        signatures: names of the run folders.
        more: further columns of the CSV, such as the size of a circle.
    """

    x: Value
    y: float
    std: float | None = None
    n: int | None = None
    signatures: tuple[str, ...] = ()
    more: Mapping[str, Value | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Series:
    """Points that belong together, in the order they are joined in.

    Attributes:
        name: in the legend.
        points: those that there are runs for.
        place: its number in the figure, which decides how it looks.
    """

    name: str
    points: tuple[Point, ...]
    place: int


Draw: TypeAlias = Callable[["Axes", "Panel"], None]


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above it; empty in a figure of one panel.
        x: label of the x axis, with its unit.
        y: label of the y axis, with its unit.
        series: all of them, also those without a point, so that one looks the same whatever else is there.
        draw: draws `series`.
        cells: how many points or curves are there, and how many there are to be.
        notes: what is left out, and why.
        size: width and height in inches.
        beside: whether its rows are those of the panel to its left, and named there.
    """

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    draw: Draw
    cells: tuple[int, int]
    notes: tuple[str, ...] = ()
    size: tuple[float, float] = (3.5, 2.5)
    beside: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(series.points for series in self.series)


Arrange: TypeAlias = Callable[["Match"], Sequence[Panel]]


@dataclass(frozen=True)
class Figure:
    """A figure of a paper. Title, cells and seeds are those of the sweep file with the same id.

    Attributes:
        id: of the figure and its sweep file.
        source: where the paper has it.
        arrange: from the matched runs to panels.
        made: how the numbers come about, and what was decided where the paper is silent; one sentence or more each.
        columns: how many panels stand side by side.
    """

    id: str
    source: str
    arrange: Arrange
    made: tuple[str, ...]
    columns: int = 2
