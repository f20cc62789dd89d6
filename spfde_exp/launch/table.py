"""Tables on standard output, and the closing table of a sweep."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spfde_exp.store import RunFolder

ENDLESS = 10_000  # columns of a pipe


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], words: int = 3) -> None:
    """Print a table to standard output; on a pipe as wide as it needs, so that nothing is cut.

    Args:
        words: the first so many columns hold words, the others numbers.
    """
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < words else "right", no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*map(Text, row))  # not markup: a setting may have brackets
    Console(width=None if sys.stdout.isatty() else ENDLESS).print(table)


def closing_row(folder: RunFolder, label: str, outcome: float | Exception | None) -> list[str]:
    """Signature, label, state with the failure's class, accuracy, FLOPs, saving, average memory and time of a run."""
    summary, state = folder.summary(), folder.state()
    if isinstance(outcome, Exception) or summary is None:
        failure = folder.status().get("failure") if state == "failed" else None
        return [folder.signature, label, f"{state}: {failure}" if failure else state, "", "", "", "", ""]
    return [
        folder.signature,
        label,
        state,
        f"{summary['test_acc']:.2f} %",
        f"{summary['train_flops']:.3g}",
        f"{100 * summary['flops_reduction_total']:.1f} %",
        size(summary["memory_avg_bytes"]),
        duration(summary["train_time_s"]),
    ]


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    if hours < 1:
        return f"{minutes:.1f} min"
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"
