"""A table as Markdown, LaTeX (booktabs), CSV or JSON."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict

from analysis.build import Cell, Table

LEGEND = "Test accuracy in percent after the last epoch: mean ± sample standard deviation (number of seeds)."
MISSING = "—"
NUMBERS = (
    "mean", "std", "n", "printed", "printed_deviation", "difference",
    "flops_reduction_freeze", "flops_reduction_sieve",
)  # fmt: skip
TEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "—": "---", '"': "''", "|": r"\textbar{}",
})  # fmt: skip


def headline(table: Table) -> str:
    """Title, source and protocol."""
    how = "the paper's recipe" if table.paper else "not the paper's recipe"
    words = f"; {' '.join(table.overrides)}" if table.overrides else ""
    return f"{table.id}. {table.title} ({table.source}), {how}: {table.protocol}{words}"


def grid(table: Table) -> list[list[str]]:
    """Header and rows as text; under the paper's recipe, printed values and differences follow each row."""
    lines = [list(table.head)]
    for label, cells in table.rows:
        lines.append([label, *(cell if isinstance(cell, str) else _measured(cell) for cell in cells)])
        numbers = [cell for cell in cells if isinstance(cell, Cell)]
        if table.paper and numbers:
            lines.append(["printed", *(_number(cell.printed, cell.printed_deviation) for cell in numbers)])
            differences = (cell.difference for cell in numbers)
            lines.append(["difference", *(MISSING if d is None else f"{d:+.2f}" for d in differences)])
    return lines


def _measured(cell: Cell) -> str:
    return f"{_number(cell.mean, cell.std)} ({cell.n})" if cell.n else MISSING


def _number(value: float | None, deviation: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.2f}" + (f" ± {deviation:.2f}" if deviation is not None else "")


def remarks(table: Table) -> list[str]:
    """Everything below the table, but the command."""
    return [LEGEND, *table.footnotes, *table.notes]


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
    """One line per cell, numbers unrounded, empty where there is none."""
    cells = [cell for _, row in table.rows for cell in row if isinstance(cell, Cell)]
    settings = list(cells[0].settings)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["table", "row", "column", *settings, *NUMBERS, "signatures"])
    for label, row in table.rows:
        for column, cell in zip(table.head[1:], row, strict=True):
            if isinstance(cell, Cell):
                values = [getattr(cell, name) for name in NUMBERS]
                where = [table.id, label, column, *(cell.settings[key] for key in settings)]
                writer.writerow([*where, *values, " ".join(cell.signatures)])
    return file.getvalue()


def as_json(table: Table) -> str:
    """The whole table; null where there is no number."""
    tree = asdict(table)
    tree["rows"] = [
        {"label": label, "cells": [cell if isinstance(cell, str) else _tree(cell) for cell in row]}
        for label, row in table.rows
    ]
    return json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _tree(cell: Cell) -> dict[str, object]:
    return asdict(cell) | {"difference": cell.difference}


WRITERS: dict[str, Callable[[Table], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": as_csv,
    "json": as_json,
}
