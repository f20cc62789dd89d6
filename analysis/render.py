"""A table as Markdown, LaTeX (booktabs), CSV or JSON."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace

from analysis.build import Cell, Shown, Table
from analysis.layout import Fact

LEGEND = "Mean ± sample standard deviation (number of runs); accuracies are those of the test set after the last epoch."
NOISE = "A difference with * is more than seeds explain (Welch's test, 5 % level)."
MISSING = "—"
NUMBERS = ("mean", "std", "n", "printed", "printed_deviation", "difference", "p_value")
TEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "—": "---", '"': "''", "|": r"\textbar{}",
})  # fmt: skip


def headline(table: Table) -> str:
    """Title, source and protocol."""
    start = f"{table.id}. {table.title} ({table.source})"
    if not table.protocol:
        return start
    how = "the paper's recipe" if table.paper else "not the paper's recipe"
    words = f"; {' '.join(table.overrides)}" if table.overrides else ""
    return f"{start}, {how}: {table.protocol}{words}"


def grid(table: Table) -> list[list[str]]:
    """Header and rows as text; under the paper's recipe, printed values and differences follow each row."""
    lines = [list(table.head)]
    for label, row in table.rows:
        lines.append([label, *map(shown, row)])
        if table.paper and any(printed(item) for item in row):
            lines.append(["printed", *map(printed, row)])
        if table.paper and any(isinstance(item, Cell) and item.difference is not None for item in row):
            lines.append(["difference", *map(difference, row)])
    return lines


def shown(item: Shown) -> str:
    """What stands in a field."""
    if isinstance(item, Cell):
        if item.mean is None:
            return MISSING
        number = _number(item, item.mean, item.std)
        return number if item.n is None else f"{number} ({item.n})"
    return item.text if isinstance(item, Fact) else item


def printed(item: Shown) -> str:
    """What the paper has there; empty where it has nothing."""
    if isinstance(item, Cell):
        return "" if item.printed is None else _number(item, item.printed, item.printed_deviation)
    return (item.printed or "") if isinstance(item, Fact) else ""


def difference(item: Shown) -> str:
    """Measured less printed, marked where it is beyond noise."""
    if not isinstance(item, Cell) or item.difference is None:
        return ""
    return f"{item.difference / item.quantity.unit:+.{item.quantity.digits}f}" + ("*" if item.beyond_noise else "")


def _number(cell: Cell, value: float, deviation: float | None) -> str:
    """In the quantity's unit; what its digits do not show, such as the FLOPs of digits, as a power of ten."""
    unit, digits = cell.quantity.unit, cell.quantity.digits
    form = ".2e" if 0 < abs(value / unit) < 10**-digits else f".{digits}f"
    return f"{value / unit:{form}}" + (f" ± {deviation / unit:{form}}" if deviation is not None else "")


def remarks(table: Table) -> list[str]:
    """Everything below the table, but the command."""
    cells = [item for _, row in table.rows for item in row if isinstance(item, Cell)]
    legend = [LEGEND] if any(cell.n is not None for cell in cells) else []
    legend += [NOISE] if any(cell.beyond_noise for cell in cells) else []
    return [*legend, *table.footnotes, *table.notes]


def markdown(table: Table) -> str:
    """A heading, a pipe table, remarks, and the command for what is missing."""
    head, *rows = [[cell.replace("|", r"\|") for cell in line] for line in grid(table)]
    lines = [f"### {headline(table)}", "", _pipes(head), _pipes([":--", *["--:"] * (len(head) - 1)])]
    lines += [*map(_pipes, rows), "", *(f"- {remark}" for remark in remarks(table))]
    if table.command:
        lines += ["", "To train what is missing:", "", f"    {table.command}"]
    return "\n".join(lines) + "\n"


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def latex(table: Table) -> str:
    """A table environment for the booktabs package."""
    head, *rows = [" & ".join(cell.translate(TEX) for cell in line) + r" \\" for line in grid(table)]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{headline(table).translate(TEX)}}}"]
    columns = "l" + "r" * (len(table.head) - 1)
    lines += [rf"\label{{tab:{table.id}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {remark.translate(TEX)}" for remark in remarks(table)]
    if table.command:
        lines.append(rf"\par\footnotesize Trains what is missing: \texttt{{{table.command.translate(TEX)}}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


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


WRITERS: dict[str, Callable[[Table], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": as_csv,
    "json": as_json,
}
