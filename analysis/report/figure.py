"""The page of a figure: the picture, its numbers as a table, and the runs behind them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from analysis.drawing.drawn import Drawn, write
from analysis.drawing.panel import Point, Value
from analysis.report.behind import Behind, Known
from analysis.report.page import Site, render
from spfde_exp.errors import UserError

POINTS = 300  # a longer table of points is nothing to read: there is the CSV file


@dataclass(frozen=True)
class Line:
    """A point as a line of the table below the picture."""

    panel: str
    series: str
    x: str
    y: str
    sort: float
    runs: str


def figure_page(drawn: Drawn, folder: Path, known: Known, site: Site) -> str:
    """The page of a figure in a report; picture and numbers are written into `folder`, which the page links to."""
    error, files = "", [f"{drawn.id}.csv"]
    (folder / files[0]).write_text(drawn.csv, encoding="utf-8", errors="backslashreplace")
    try:
        files = [path.name for path in write(drawn, folder)]
    except UserError as missing:  # matplotlib; the numbers are there without it
        error = str(missing)
    behind = Behind()
    for _, series, point in _points(drawn):
        behind.add(point.signatures, f"{series}, {_text(point.x)}")
    known.tell(behind, ())
    lines = [
        Line(panel, series, _text(point.x), _number(point), point.y, behind.id_of(point.signatures))
        for panel, series, point in _points(drawn)
    ]
    axes = [" or ".join(dict.fromkeys(labels)) for labels in zip(*((p.x, p.y) for p in drawn.panels), strict=True)]
    return render(
        "figure.html", drawn=drawn, lines=lines if len(lines) <= POINTS else [], count=len(lines), axes=axes,
        several=len(drawn.panels) > 1, behind=behind, error=error, site=site.with_files(files),
    )  # fmt: skip


def _points(drawn: Drawn) -> Iterator[tuple[str, str, Point]]:
    for panel in drawn.panels:
        for series in panel.series:
            for point in series.points:
                yield panel.title, series.name, point


def _text(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _number(point: Point) -> str:
    spread = "" if point.std is None else f" ± {point.std:.2g}"
    return f"{point.y:.5g}{spread}" + ("" if point.n is None else f" ({point.n})")
