"""A table as Markdown, LaTeX (booktabs), CSV, JSON or a page of HTML."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace

from analysis.build import Cell, Shown, Table
from analysis.latex import latex
from analysis.layout import Fact
from analysis.text import grid, remarks

NUMBERS = ("mean", "std", "n", "printed", "printed_deviation", "difference", "p_value")


def markdown(table: Table) -> str:
    """A heading, a pipe table, remarks, and the command for what is missing."""
    head, *rows = [[cell.replace("|", r"\|") for cell in line] for line in grid(table)]
    lines = [f"### {table.headline}", "", _pipes(head), _pipes([":--", *["--:"] * (len(head) - 1)])]
    lines += [*map(_pipes, rows), "", *table.below(remarks(table))]
    return "\n".join(lines) + "\n"


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_csv(table: Table) -> str:
    """One line per number or fact, numbers unrounded and in the unit of summary.json, empty where there is none."""
    items = [item for _, row in table.rows for item in row]
    settings = list(dict.fromkeys(key for item in items if isinstance(item, Cell) for key in item.settings))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["table", "row", "column", *settings, "quantity", *NUMBERS, "fact", "signatures"])
    for label, row in table.rows:
        for column, item in zip(table.head[1:], row, strict=True):
            where = [table.id, label, column]
            if isinstance(item, Cell):
                values = [item.settings.get(key, "") for key in settings]
                values += [item.quantity.name, *(getattr(item, name) for name in NUMBERS)]
                writer.writerow([*where, *values, "", " ".join(item.signatures)])
            elif isinstance(item, Fact):
                blank = dict.fromkeys(NUMBERS, "") | {"printed": item.printed or ""}
                writer.writerow([*where, *[""] * len(settings), "", *blank.values(), item.text, ""])
    return file.getvalue()


def as_json(table: Table) -> str:
    """The whole table; null where there is no number."""
    tree = asdict(replace(table, rows=()))
    tree["rows"] = [{"label": label, "cells": [_tree(item) for item in row]} for label, row in table.rows]
    return json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _tree(item: Shown) -> object:
    if isinstance(item, str):
        return item
    if isinstance(item, Fact):
        return asdict(item)
    answer = {name: getattr(item, name) for name in ("settings", *NUMBERS, "beyond_noise", "signatures")}
    return {"quantity": item.quantity.name, "unit": item.quantity.unit, **answer}


def html(table: Table) -> str:
    """A page that is whole in itself."""
    from analysis.report.page import table_html  # loads a template engine

    return table_html(table)


WRITERS: dict[str, Callable[[Table], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": as_csv,
    "json": as_json,
    "html": html,
}
