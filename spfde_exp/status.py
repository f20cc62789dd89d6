"""`python -m spfde_exp.status`: the runs of a folder and how far they are. Needs no torch and writes nothing."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.live import Live

from spfde_exp.cli import OneLineParser, guarded
from spfde_exp.launch.board import Total, board, combined_pace, progress_cells, sweep_left, telling
from spfde_exp.launch.table import print_table
from spfde_exp.progress import ENDED, GOING, Reader, RunProgress
from spfde_exp.selection import Filters, add_filters, filters, none_pass, select

WATCH_S = 2.0  # between two looks
FIRST = ("running", "failed", "stale", "pending", "done", "new")  # what --watch shows first where not all fits


def look(runs_dir: Path, wanted: Filters, reader: Reader) -> list[RunProgress]:
    """The chosen runs, by signature."""
    return [run for _, run in select(runs_dir, wanted, reader)]


def show(found: Sequence[RunProgress], as_json: bool, otherwise: str = "no runs") -> None:
    """Print runs, as a table or as one JSON list; `otherwise` in place of an empty table."""
    if as_json:
        print(json.dumps([asdict(run) for run in found], indent=1))
        return
    if not found:
        print(otherwise)
        return
    rows = []
    for run in found:
        numbers = progress_cells(run.epoch, run.epochs, run.test_acc, run.pace_s, run.time_left_s)
        rows.append([run.signature, run.settings, run.state, *numbers, run.trouble])
    columns = ("run", "settings", "state", "epoch", "accuracy", "s/epoch", "left", "error")
    print_table(total(found).text(), columns, rows)


def total(found: Sequence[RunProgress]) -> Total:
    """The runs as a whole; what waits is taken to need the mean time of those that are known."""
    known = [run.total_s for run in found if run.total_s is not None]
    waiting = sum(run.state == "pending" for run in found)
    running = [run for run in found if run.state == "running"]
    left = sweep_left(
        [run.time_left_s for run in running],
        [sum(known) / len(known) if known else None] * waiting,
        max(1, len(running)),
    )
    return Total(
        states=Counter(run.state for run in found),
        runs=len(found),
        epoch=sum(run.epoch for run in found),
        epochs=sum(run.epochs or 0 for run in found),
        pace_s=combined_pace([run.pace_s for run in running]),
        time_left_s=left if running else None,
    )


def watch(runs_dir: Path, wanted: Filters, as_json: bool, interval_s: float = WATCH_S) -> None:
    """Show runs until none is running or pending: a table on a terminal, elsewhere a line per change of a state."""
    reader, console = Reader(), Console()
    if as_json or not console.is_terminal or console.is_dumb_terminal:
        _watch_lines(runs_dir, wanted, reader, as_json, interval_s)
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            found = look(runs_dir, wanted, reader)
            labels = telling({run.signature: run.settings for run in found})
            rows = [(run, labels[run.signature]) for run in sorted(found, key=_interest)]
            live.update(board(rows, total(found), console.size.height), refresh=True)
            if not _going(found):
                return
            time.sleep(interval_s)


def _watch_lines(runs_dir: Path, wanted: Filters, reader: Reader, as_json: bool, interval_s: float) -> None:
    states: dict[str, str] = {}
    while True:
        found = look(runs_dir, wanted, reader)
        for run in found:
            if states.get(run.signature) != run.state:
                states[run.signature] = run.state
                print(json.dumps(asdict(run)) if as_json else _line(run), flush=True)
        if not _going(found):
            break
        time.sleep(interval_s)
    if not as_json:
        print(total(found).text())


def _line(run: RunProgress) -> str:
    epoch, accuracy, _, left = progress_cells(run.epoch, run.epochs, run.test_acc, run.pace_s, run.time_left_s)
    parts = (run.signature, run.state, f"epoch {epoch}", accuracy, left and f"{left} left", run.trouble, run.settings)
    return "  ".join(part for part in parts if part)


def _interest(run: RunProgress) -> tuple[int, float]:
    """What is at work first, then what needs a person, then what ended last."""
    rank = FIRST.index(run.state) if run.state in FIRST else len(FIRST)
    return rank, -(run.heartbeat or 0.0) if run.state in ENDED else 0.0


def _going(found: Sequence[RunProgress]) -> bool:
    return any(run.state in GOING for run in found)


def main() -> None:
    """The command."""

    def command() -> None:
        parser = OneLineParser(prog="python -m spfde_exp.status", description="Show the runs of a folder.")
        add_filters(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON list instead of a table")
        parser.add_argument(
            "--watch",
            action="store_true",
            help="until all runs have ended: on a terminal a table that follows them, elsewhere a line (with --json "
            "an object) for each run and whenever its state changes",
        )
        arguments: argparse.Namespace = parser.parse_intermixed_args()
        wanted = filters(arguments)
        if arguments.watch:
            try:
                watch(arguments.runs, wanted, arguments.json)
            except KeyboardInterrupt:  # whoever watches has seen enough; no run notices
                sys.exit(130)
        else:
            found = look(arguments.runs, wanted, Reader())
            show(found, arguments.json, none_pass(arguments.runs) if wanted else f"{arguments.runs} holds no runs")

    guarded(command)


if __name__ == "__main__":
    main()
