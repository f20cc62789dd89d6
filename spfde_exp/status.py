"""`python -m spfde_exp.status`: the runs of a folder and how far they are. Needs no torch."""

import json
import time
from pathlib import Path
from typing import Any

from spfde_exp.cli import OneLineParser, guarded
from spfde_exp.errors import UserError
from spfde_exp.launch.table import print_table
from spfde_exp.store import RunFolder


def describe(folder: RunFolder) -> dict[str, Any]:
    """State and progress of one run, for the table and for --json."""
    meta, status, summary = (folder.json(name) or {} for name in ("meta", "status", "summary"))
    trouble = status.get("error")
    try:
        config = folder.config() or {}
    except UserError as error:
        config, trouble = {}, str(error)
    rows = folder.metrics()
    last = rows[-1] if rows else {}
    return {
        "signature": folder.signature,
        "state": folder.state(),
        "settings": " ".join(meta.get("overrides", [])),
        "epoch": len(rows),
        "epochs": config.get("epochs"),
        "test_acc": summary.get("test_acc", last.get("test_acc")),
        "attempt": status.get("attempt"),
        "host": status.get("host"),
        "pid": status.get("pid"),
        "heartbeat": status.get("heartbeat"),
        "error": trouble,
    }


def find_runs(runs_dir: Path) -> list[RunFolder]:
    """The run folders of `runs_dir`, by signature.

    Raises:
        UserError: there is no such folder.
    """
    if not runs_dir.is_dir():
        raise UserError(f"--runs {runs_dir} is no folder; name the runs_dir of your runs")
    paths = {path.parent for name in ("config.yaml", "status.json") for path in runs_dir.glob(f"*/{name}")}
    return [RunFolder(path) for path in sorted(paths)]


def show(runs_dir: Path, as_json: bool) -> None:
    """Print every run of `runs_dir`."""
    found = [describe(folder) for folder in find_runs(runs_dir)]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    rows = []
    for run in found:
        accuracy = "" if run["test_acc"] is None else f"{run['test_acc']:.2f} %"
        progress = f"{run['epoch']}/{run['epochs']}"
        rows.append([run["signature"], run["settings"], run["state"], progress, accuracy, run["error"] or ""])
    done = sum(run["state"] == "done" for run in found)
    print_table(f"{done} of {len(found)} runs done", ("run", "settings", "state", "epoch", "accuracy", "error"), rows)


def main() -> None:
    """The command."""

    def command() -> None:
        parser = OneLineParser(prog="python -m spfde_exp.status", description="Show the runs of a folder.")
        parser.add_argument("--runs", type=Path, default=Path("runs"), help="the runs_dir to look at (default: runs)")
        parser.add_argument("--json", action="store_true", help="print one JSON list instead of a table")
        parser.add_argument(
            "--watch", action="store_true", help="print again every 2 seconds until all runs have ended"
        )
        arguments = parser.parse_args()
        show(arguments.runs, arguments.json)
        while arguments.watch and any(f.state() in ("running", "pending") for f in find_runs(arguments.runs)):
            time.sleep(2)
            show(arguments.runs, arguments.json)

    guarded(command)


if __name__ == "__main__":
    main()
