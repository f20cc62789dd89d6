"""A figure drawn from runs, with all that is written beside it: `draw`."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from analysis.drawing.panel import Figure, Panel
from analysis.drawing.picture import picture
from analysis.made import Made, common
from analysis.match import match
from spfde_exp.files import write_atomic

COLUMNS = ("panel", "series", "x", "y", "std", "n", "signatures")


@dataclass(frozen=True)
class Drawn(Made):
    """A figure, ready to be written in any format.

    Attributes:
        panels: what is drawn.
        columns: how many panels stand side by side.
        points: how many of its points or curves are there, and how many it has.
        made: how the numbers come about.
    """

    panels: tuple[Panel, ...]
    columns: int
    points: tuple[int, int]
    made: tuple[str, ...]

    @property
    def coverage(self) -> str:
        """``12 of 18 points, from 34 of 54 runs``; empty where nothing has to be trained."""
        if not self.runs[1]:
            return ""
        return f"{self.points[0]} of {self.points[1]} points or curves, from {self.runs[0]} of {self.runs[1]} runs"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Everything below the figure, but the command."""
        return (*self.made, *([f"Drawn: {self.coverage}."] if self.coverage else []), *self.footnotes, *self.notes)

    @property
    def caption(self) -> str:
        """The text below the figure, as Markdown."""
        return "\n".join([f"### {self.headline}", "", *self.below(self.remarks)]) + "\n"

    @cached_property
    def data(self) -> pd.DataFrame:
        """A row per point in the units of the axes, with the columns `COLUMNS` and what single figures have more."""
        rows = [
            {
                "panel": panel.title, "series": series.name, "x": point.x, "y": point.y, "std": point.std,
                "n": point.n, "signatures": " ".join(point.signatures), **point.more,
            }
            for panel in self.panels for series in panel.series for point in series.points
        ]  # fmt: skip
        names = dict.fromkeys([*COLUMNS, *(key for row in rows for key in row)])
        return pd.DataFrame(rows, columns=list(names)).astype({"n": "Int64"})

    @property
    def csv(self) -> str:
        """`data`, unrounded, an empty field where there is no number."""
        file = io.StringIO()
        self.data.to_csv(file, index=False, lineterminator="\n")
        return file.getvalue()

    @cached_property
    def svg(self) -> bytes:
        """The picture, with a title and a description for who cannot see it; the same numbers give the same bytes."""
        return picture(self.id, self._heading, self._description, self.panels, self.columns, self.command, "svg")

    @cached_property
    def png(self) -> bytes:
        """The picture at 200 dots per inch."""
        return picture(self.id, self._heading, self._description, self.panels, self.columns, self.command, "png")

    @property
    def _heading(self) -> tuple[str, str]:
        """The lines in the picture: what is not of the paper's recipe says so, wherever the picture is taken."""
        return self.title, f"not the paper's recipe: {self.protocol}" if self.protocol and not self.paper else ""

    @property
    def _description(self) -> str:
        shown = []
        for panel in self.panels:
            names = ", ".join(series.name for series in panel.series if series.points) or "no runs yet"
            shown.append(f"{panel.title + ': ' if panel.title else ''}{panel.y} over {panel.x}; {names}")
        told = [note for panel in self.panels for note in panel.notes]
        return ". ".join([self.headline, *shown, *dict.fromkeys(told), f"The numbers are in {self.id}.csv."])


def draw(figure: Figure, frame: pd.DataFrame, arguments: Sequence[str] = (), runs_dir: str = "runs") -> Drawn:
    """Draw a figure from runs.

    Args:
        figure: the figure.
        frame: what `load_runs` gave.
        arguments: overrides that choose protocol and seeds; without any of the protocol, it is the paper's
            where a run has it, else the only one that the runs have.
        runs_dir: where the command for missing runs puts them.

    Raises:
        UserError: a bad override, or runs of several protocols to choose from.
    """
    found = match(figure.id, frame, arguments, runs_dir)
    panels = tuple(figure.arrange(found))
    filled, total = (sum(counts) for counts in zip(*(panel.cells for panel in panels), strict=True))
    shared = common(figure.id, figure.source, found)
    shared["notes"] = tuple(dict.fromkeys([*found.notes, *(note for panel in panels for note in panel.notes)]))
    return Drawn(**shared, panels=panels, columns=figure.columns, points=(filled, total), made=figure.made)


def write(drawn: Drawn, folder: Path) -> list[Path]:
    """Write picture and numbers as ``<id>.svg``, ``<id>.png`` and ``<id>.csv`` into `folder`."""
    contents: dict[str, str | bytes] = {"svg": drawn.svg, "png": drawn.png, "csv": drawn.csv}
    paths = []
    for kind, content in contents.items():
        paths.append(folder / f"{drawn.id}.{kind}")
        write_atomic(paths[-1], content)
    return paths
