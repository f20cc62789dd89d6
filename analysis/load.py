"""The runs of any source as one DataFrame."""

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.cache import Cache
from analysis.folders import read_folder, stamp_of
from analysis.notes import Notes
from analysis.row import COLUMNS, Row
from analysis.wandb_source import read_history, read_project, read_wandb_dir
from spfde_exp.errors import UserError
from spfde_exp.store import RunFolder
from spfde_exp.track.wandb_offline import read_offline


def load_runs(
    dirs: Sequence[Path | str] = (), wandb: Sequence[str] = (), wandb_dirs: Sequence[Path | str] = ()
) -> pd.DataFrame:
    """One row per run whose configuration can be read, whatever its state.

    Columns: the resolved configuration, flat (``optim.lr``, ``freeze.target``, ...); the keys of summary.json
    (``test_acc`` in percent; missing for a run that is not done); and

    - ``signature``: name of the run folder, or what it would be; ``path``: where it lies, or its address in W&B;
    - ``state``: as `RunFolder.state`, or ``torn`` for a run that ended but has no whole summary; ``error``: why it
      failed;
    - ``commit``: the git commit that trained it, ``dirty``: whether the checkout had other changes;
    - ``host``, ``device`` (``cpu``, ``cuda:0``), ``device_name``, ``threads``, ``engine``: where and how it was
      trained, and not what its configuration asked for; ``runs_per_device``: runs that shared the device, itself
      included;
    - ``started``, ``finished``: seconds since 1970; ``data_checksum``: of the data that it saw;
    - ``identity``: what decides its result besides the seed, as `spfde_exp.config.identity`;
    - ``cell``: hash of that identity; runs that differ in nothing but the seed share it.

    ``frame.attrs["notes"]`` says, one sentence for each reason, which runs were left out or are not done, and why.
    A run found twice counts once.

    Args:
        dirs: folders of run folders.
        wandb: projects on a W&B server, as ``entity/project``.
        wandb_dirs: folders with W&B's files below them, such as ``offline-run-...``.

    Raises:
        UserError: one of the folders is none, or a project cannot be read.
    """
    notes = Notes()
    rows: list[dict[str, Any]] = []
    for runs_dir in dict.fromkeys(Path(d).resolve() for d in dirs):
        rows += _read_dir(runs_dir, notes)
    found = [read_project(name) for name in dict.fromkeys(wandb)]
    found += [read_wandb_dir(place) for place in dict.fromkeys(Path(d).resolve() for d in wandb_dirs)]
    for path, row in chain.from_iterable(found):
        if values := _placed(row, path, notes):
            rows.append(values)
    rows = _once(rows, notes)
    keys = [*COLUMNS, *sorted({key for row in rows for key in row} - set(COLUMNS))]
    frame: pd.DataFrame = pd.DataFrame({key: [row.get(key, math.nan) for row in rows] for key in keys})
    frame.attrs["notes"] = notes.sentences()
    return frame


def load_metrics(path: Path | str) -> pd.DataFrame:
    """The epochs of one run: a row per epoch, from 1 on, a column per key of metrics.jsonl.

    The seconds of an epoch whose memory was measured (``memory_peak_bytes`` has a value) contain that.

    Args:
        path: as the column ``path`` of `load_runs`. A torn last line is left out.

    Raises:
        UserError: there are none, or W&B cannot be reached.
    """
    where = str(path)
    if where.startswith(("http://", "https://")):
        rows = read_history(where)
    else:
        rows = read_offline(Path(path)).history if where.endswith(".wandb") else RunFolder(path).metrics()
    by_epoch = {row.pop("epoch"): row for row in rows if "epoch" in row}
    if not by_epoch:
        raise UserError(f"{path} has no epochs; name a run folder whose training has begun")
    epochs = pd.Index([epoch + 1 for epoch in by_epoch], name="epoch")
    frame: pd.DataFrame = pd.DataFrame(list(by_epoch.values()), index=epochs)
    return frame


def _read_dir(runs_dir: Path, notes: Notes) -> list[dict[str, Any]]:
    if not runs_dir.is_dir():
        raise UserError(f"--runs {runs_dir} is no folder; name the runs_dir of your runs")
    try:
        with os.scandir(runs_dir) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_dir(entry))
    except OSError as error:
        raise UserError(
            f"--runs {runs_dir} cannot be read ({error.strerror}); ask its owner, or name another"
        ) from error
    cache, rows = Cache(runs_dir), []
    for name in names:
        path = f"{runs_dir}/{name}"
        stamp = stamp_of(path)
        if (row := cache.get(name, stamp)) is None:
            row = read_folder(path)
            cache.put(name, stamp, row)
        if values := _placed(row, path, notes):
            rows.append(values)
    cache.save(names)
    return rows


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def _placed(row: Row, path: str, notes: Notes) -> dict[str, Any] | None:
    """A row with what depends on where and when it is read; None for what is left out."""
    for reason, detail in row.told:
        notes.add(reason, path, detail or (_rescue(path) if reason == "foreign" else ""))
    if row.values is None:
        return None
    try:
        state = row.values.get("state") or RunFolder(path).state()  # of what is not done, locks and clocks decide
    except (OSError, ValueError, TypeError) as error:
        notes.add("unreadable", path, f"{type(error).__name__}: {error}")
        return None
    if state != "done":
        notes.add(state, path, row.values.get("error") or (_rescue(path) if state == "torn" else ""))
    return {**row.values, "path": path, "state": state} if row.values else None


def _rescue(path: str) -> str:
    return "--wandb-dir reads its copy for W&B" if any(Path(path).glob("wandb/offline-run-*/run-*.wandb")) else ""


def _once(rows: list[dict[str, Any]], notes: Notes) -> list[dict[str, Any]]:
    """`rows` without second copies of a run: one with an accuracy is kept, then the one that finished last."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["cell"], row["seed"]), []).append(row)
    kept = []
    for group in groups.values():
        best = max(group, key=_rank)
        kept.append(best)
        for row in group:
            known = not math.isnan(row["test_acc"])
            if known and (row["test_acc"], row["commit"]) != (best["test_acc"], best["commit"]):
                notes.add("twice", best["path"], f"{_told(best)}, not {_told(row)} of {row['path']}")
    return kept


def _rank(row: dict[str, Any]) -> tuple[bool, float]:
    return not math.isnan(row["test_acc"]), -math.inf if math.isnan(row["finished"]) else row["finished"]


def _told(row: dict[str, Any]) -> str:
    finished = row["finished"]
    when = ""
    with suppress(OverflowError, ValueError, OSError):  # no time of this world
        when = f" on {datetime.fromtimestamp(finished):%Y-%m-%d %H:%M:%S}"
    return f"{row['test_acc']:.2f} % by commit {str(row['commit'])[:12]}{when}"
