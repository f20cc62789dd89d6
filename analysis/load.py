"""Run folders as one DataFrame."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from spfde_exp.config import flatten, identity, signature
from spfde_exp.errors import UserError
from spfde_exp.store import RunFolder

# columns that are there even without any run; configuration and summary keys come on top
COLUMNS = ["signature", "path", "state", "commit", "cell", "identity", "seed", "test_acc"]
NAMED = 5  # a note names so many runs, and counts the rest


def load_runs(dirs: Sequence[Path | str]) -> pd.DataFrame:
    """The runs in `dirs`, one row per run folder whose configuration can be read, whatever its state.

    Columns: the resolved configuration, flat (``optim.lr``, ``freeze.target``, ...); the keys of summary.json
    (``test_acc`` in percent; missing for a run that is not done); and

    - ``signature``: name of the run folder, ``path``: where it lies;
    - ``state``: as `RunFolder.state`, or ``torn`` for a run that ended but has no whole summary;
    - ``commit``: the git commit that trained it;
    - ``identity``: what decides its result besides the seed, as `spfde_exp.config.identity`;
    - ``cell``: hash of that identity; runs that differ in nothing but the seed share it.

    ``frame.attrs["notes"]`` says, one sentence each, which folders were left out or are not done, and why. A
    run found twice counts once.

    Raises:
        UserError: one of `dirs` is no folder.
    """
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for runs_dir in dict.fromkeys(Path(d).resolve() for d in dirs):
        if not runs_dir.is_dir():
            raise UserError(f"--runs {runs_dir} is no folder; name the runs_dir of your runs")
        for path in sorted(runs_dir.iterdir()):
            if not path.is_dir() or path.name.startswith("."):
                continue
            try:
                row, told = _read(RunFolder(path))
            except UserError as error:
                notes.append(f"left out: {error}")
            except (OSError, ValueError, TypeError, KeyError) as error:
                notes.append(f"left out: {path} cannot be read ({type(error).__name__}: {error})")
            else:
                rows.append(row)
                notes += told
    rows = _once(rows, notes)
    notes += _not_done(rows)
    frame = pd.DataFrame(rows)
    frame = frame.reindex(columns=[*COLUMNS, *(c for c in frame.columns if c not in COLUMNS)])
    frame.attrs["notes"] = notes
    return frame


def _read(folder: RunFolder) -> tuple[dict[str, Any], list[str]]:
    config = folder.config()
    if config is None:
        raise UserError(f"{folder.path} has no whole config.yaml, so it is no run folder")
    if type(config.get("seed")) is not int:
        raise UserError(f"{folder.file('config.yaml')} is no resolved configuration of a run")
    who = identity(config)
    del who["seed"]
    notes = []
    if signature(config) != folder.signature:
        notes.append(f"{folder.path}: its configuration is that of {signature(config)}; renamed or edited?")
    summary, state, status = folder.summary() or {}, folder.state(), folder.status()
    accuracy: Any = summary.get("test_acc", math.nan)
    if status.get("state") == "done" and not summary:
        state = "torn"
    if state == "done":
        if not isinstance(accuracy, (int, float)) or not math.isfinite(accuracy):
            notes.append(f"left out: {folder.path} has accuracy {accuracy}; train it again with force=true")
            accuracy = math.nan
        epochs, rows = summary.get("epochs"), len(folder.metrics())
        if folder.file("metrics.jsonl").exists() and rows != epochs:
            notes.append(f"{folder.path}: metrics.jsonl has {rows} of {epochs} epochs; its summary is used")
    row = {**summary, **flatten(config)}
    row |= {
        "signature": folder.signature,
        "path": str(folder.path),
        "state": state,
        "commit": ((folder.json("meta") or {}).get("git") or {}).get("commit"),
        "cell": signature({**config, "seed": 0}),
        "identity": who,
        "test_acc": accuracy,
        "error": status.get("error"),
    }
    return row, notes


def _once(rows: list[dict[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    """`rows` without second copies of a run; one with an accuracy is kept, contradictions are noted."""
    kept: dict[tuple[str, int], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: math.isnan(row["test_acc"])):
        first = kept.setdefault((row["cell"], row["seed"]), row)
        if not math.isnan(row["test_acc"]) and row["test_acc"] != first["test_acc"]:
            one, two = (f"{run['path']} ({run['test_acc']:.2f} %)" for run in (first, row))
            notes.append(f"{one} and {two} are the same run with different accuracies; the first is used")
    return list(kept.values())


def _not_done(rows: list[dict[str, Any]]) -> list[str]:
    """One sentence for each state other than done."""
    notes = []
    for state in sorted({row["state"] for row in rows} - {"done"}):
        runs = [row for row in rows if row["state"] == state]
        named = [row["path"] + (f" ({row['error']})" if row["error"] else "") for row in runs[:NAMED]]
        more = f" and {len(runs) - NAMED} more" if len(runs) > NAMED else ""
        what = "without a whole summary.json" if state == "torn" else state
        count = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}"
        notes.append(f"left out: {count} {what}: {', '.join(named)}{more}")
    return notes
