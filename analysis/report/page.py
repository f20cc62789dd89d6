"""Pages from templates. Every page is whole in itself: its style and its script stand in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.build import Cell, Table
from analysis.report.behind import Behind
from analysis.report.fields import grid
from analysis.text import remarks

FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Site:
    """A page's place in a report.

    Attributes:
        before, after: ids of its neighbours; empty at the ends.
        files: what lies beside it, for download.
    """

    before: str = ""
    after: str = ""
    files: Sequence[str] = ()

    def with_files(self, files: Sequence[str]) -> "Site":
        """The same place, with what can be downloaded there."""
        return replace(self, files=files)


def table_html(table: Table) -> str:
    """A page with one table: numbers, remarks, the command for what is missing, and the runs behind each number."""
    return table_page(table, behind_table(table))


def table_page(table: Table, behind: Behind, site: Site | None = None) -> str:
    """The page of a table, alone or in a report."""
    return render("table.html", table=table, grid=grid(table, behind), behind=behind, headline=table.headline,
                  remarks=remarks(table), site=site)  # fmt: skip


def behind_table(table: Table) -> Behind:
    """The runs behind each number of `table`, by name."""
    behind = Behind()
    for _, row in table.rows:
        for item in row:
            if isinstance(item, Cell):
                behind.add(item.signatures, " ".join(f"{key}={value}" for key, value in item.settings.items()))
    return behind


def render(template: str, **values: Any) -> str:
    """A page, all text escaped."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters["tied"] = _tied
    return environment


def _tied(text: str) -> str:
    """No line ends between a number and its per cent."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
