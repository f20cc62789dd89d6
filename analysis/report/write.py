"""The whole report: a page for each table and figure, one over all of them, and files to download."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd

from analysis.build import Cell, Table
from analysis.drawing.drawn import Drawn
from analysis.quantities import Quantity
from analysis.render import WRITERS
from analysis.report.behind import Known
from analysis.report.figure import figure_page
from analysis.report.folder import check, replaced
from analysis.report.items import Item, make_items
from analysis.report.overview import Coverage, coverage, deviations
from analysis.report.page import Site, behind_table, render, table_page
from spfde_exp import __version__

FORMATS = {"csv": "csv", "latex": "tex", "markdown": "md", "json": "json"}  # written beside each table


def write_report(frame: pd.DataFrame, out: Path, arguments: Sequence[str] = (), runs_dir: str = "runs") -> str:
    """Write the report, and tell in one line what is in it.

    Args:
        frame: what `load_runs` gave.
        out: the folder; a report that is there is replaced once the new one is whole.
        arguments: overrides that choose protocol and seeds, for all tables and figures.
        runs_dir: where the commands for missing runs put them.

    Raises:
        UserError: `out` is something else, or the overrides fit nothing.
    """
    check(out)
    items = make_items(frame, arguments, runs_dir)
    known = Known(frame)
    with replaced(out) as folder:
        ids = ["", *(item.id for item in items), ""]
        for number, item in enumerate(items):
            _write(folder / f"{item.id}.html", _page(item, folder, known, Site(ids[number], ids[number + 2])))
        counted = [coverage(item) for item in items]
        _write(folder / "index.html", _first_page(items, counted, frame, arguments))
    filled, total = sum(one.filled for one in counted), sum(one.total for one in counted)
    failed = sum(bool(item.error) for item in items)
    not_made = f", {failed} not made" if failed else ""
    return f"{out / 'index.html'}: {len(items)} tables and figures{not_made}, {filled} of {total} numbers from runs"


def _first_page(
    items: Sequence[Item], counted: Sequence[Coverage], frame: pd.DataFrame, arguments: Sequence[str]
) -> str:
    accuracies, others = deviations(items)
    return render(
        "index.html",
        counted=counted,
        accuracies=accuracies,
        others=others,
        arguments=arguments,
        sources=sorted({str(path).rpartition("/")[0] for path in frame["path"]}),
        runs=len(frame),
        done=int(frame["test_acc"].notna().sum()),
        notes=frame.attrs["notes"],
        version=__version__,
        now=datetime.now(timezone.utc),
    )


def _page(item: Item, folder: Path, known: Known, site: Site) -> str:
    """The page of an item; what can be downloaded is written beside it."""
    if isinstance(item.made, Table):
        files = []
        for kind, suffix in FORMATS.items():
            files.append(f"{item.id}.{suffix}")
            _write(folder / files[-1], WRITERS[kind](item.made))
        behind = behind_table(item.made)
        known.tell(behind, _quantities(item.made))
        return table_page(item.made, behind, site.with_files(files))
    if isinstance(item.made, Drawn):
        return figure_page(item.made, folder, known, site)
    return render("error.html", item=item, site=site)


def _quantities(table: Table) -> list[Quantity]:
    return [item.quantity for _, row in table.rows for item in row if isinstance(item, Cell)]


def _write(path: Path, text: str) -> None:
    """Whatever a folder's name holds, the page can be written."""
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
