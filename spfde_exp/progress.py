"""How far a run is, read from its folder with few bytes; for the status table and the live table. Needs no torch."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from spfde_exp.errors import UserError
from spfde_exp.files import read_json, whole_rows
from spfde_exp.jobs import settings
from spfde_exp.store import SWEEPS, RunFolder

RECENT = 5  # epochs whose median tells the speed: freezing makes the early ones slower
ENDED = ("failed", "done")  # states that only a new attempt changes
FROM_STATUS = ("attempt", "host", "pid", "heartbeat", "failure", "sweep", "slurm_job")
GOING = ("pending", "running")  # states in which somebody is, or will be, at work


@dataclass(frozen=True)
class RunProgress:
    """State and progress of one run; its fields are the keys of ``status --json``.

    Attributes:
        settings: what the user asked for, as far as it tells the run from others.
        epoch: finished epochs, of `epochs`.
        test_acc: percent, of the last finished epoch.
        epoch_time_s: seconds per epoch of the training pass, as in metrics.jsonl; median of the last few.
        pace_s: seconds per epoch with its evaluation; median of the last few.
        time_left_s: seconds until a running run is done, at this pace.
        failure: class of the failure (`out_of_memory`, `nan_loss`, ...).
        sweep: id of the sweep record that submitted it last.
        sweep_files: ids of the sweep files that asked for it.
    """

    signature: str
    state: str
    settings: str
    epoch: int
    epochs: int | None
    test_acc: float | None
    epoch_time_s: float | None
    pace_s: float | None
    time_left_s: float | None
    attempt: int | None
    host: str | None
    pid: int | None
    heartbeat: float | None
    error: str | None
    failure: str | None
    sweep: str | None
    sweep_files: tuple[str, ...]
    slurm_job: str | None

    @property
    def trouble(self) -> str:
        """The error in one line, led by its class; empty without one."""
        return trouble(self.failure, self.error)

    @property
    def total_s(self) -> float | None:
        """Seconds that the whole run takes at its present pace."""
        return self.pace_s * self.epochs if self.pace_s and self.epochs else None


def trouble(failure: str | None, error: str | None) -> str:
    """An error in one line, led by its class unless it begins with that itself."""
    text = " ".join((error or "").split())
    return text if failure and text.startswith(failure) else ": ".join(part for part in (failure, text) if part)


def last_rows(path: Path, count: int) -> list[dict[str, Any]]:
    """The last `count` whole rows of a metrics.jsonl, oldest first, without reading what comes before them.

    A torn last line is left out, as in `RunFolder.metrics`; without a file there are no rows.
    """
    size = 2048 * count  # a row takes 500 bytes or so
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            while True:
                start = max(0, end - size)
                file.seek(start)
                lines = file.read(end - start).splitlines()[1 if start else 0 :]
                if len(lines) > count or not start:
                    return whole_rows(lines[-count - 1 :])[-count:]
                size *= 4
    except OSError:
        return []


class Reader:
    """Reads runs again and again at little cost: what cannot have changed is not read twice."""

    def __init__(self) -> None:
        self._files: dict[Path, tuple[int, Any]] = {}
        self._ended: dict[Path, tuple[tuple[int, ...], RunProgress]] = {}

    def read(self, folder: RunFolder) -> RunProgress:
        """How far the run of `folder` is now."""
        stamp = tuple(_changed(folder.file(name)) for name in ("status.json", "summary.json", "config.yaml"))
        before = self._ended.get(folder.path)
        if before is not None and before[0] == stamp:
            return before[1]
        progress = self._read(folder)
        if progress.state in ENDED:
            self._ended[folder.path] = (stamp, progress)
        return progress

    def config(self, folder: RunFolder) -> dict[str, Any]:
        """The resolved configuration of a run, empty where there is none.

        Raises:
            UserError: a newer version of this software wrote it.
        """
        config: dict[str, Any] = self._once(folder.file("config.yaml"), folder.config) or {}
        return config

    def _read(self, folder: RunFolder) -> RunProgress:
        meta = self._once(folder.file("meta.json"), lambda: folder.json("meta")) or {}
        state, status, summary = folder.state(), folder.status(), folder.summary() or {}
        rows = last_rows(folder.file("metrics.jsonl"), RECENT)
        last = rows[-1] if rows else {}
        error = status.get("error")
        try:
            config = self.config(folder)
        except UserError as unreadable:
            config, error = {}, str(unreadable)
        epoch, epochs = int(last.get("epoch", -1)) + 1, config.get("epochs")
        pace = _median(rows, "epoch_time_s", "eval_time_s")
        return RunProgress(
            signature=folder.signature,
            state=state,
            settings=" ".join(settings(meta.get("overrides", []))) or self._planned(folder, status.get("sweep")),
            epoch=epoch,
            epochs=epochs,
            test_acc=summary.get("test_acc", last.get("test_acc")),
            epoch_time_s=_median(rows, "epoch_time_s"),
            pace_s=pace,
            time_left_s=pace * (epochs - epoch) if state == "running" and pace and epochs else None,
            error=error,
            sweep_files=sweep_files(config),
            **{key: status.get(key) for key in FROM_STATUS},
        )

    def record(self, runs_dir: Path, sweep: str) -> dict[str, Any]:
        """The record of a sweep, empty where there is none of that id."""
        path = runs_dir / SWEEPS / sweep / "sweep.json"
        record: dict[str, Any] = self._once(path, lambda: read_json(path)) or {}
        return record

    def _planned(self, folder: RunFolder, sweep: str | None) -> str:
        """Settings of a run that never started: its sweep knows."""
        runs = self.record(folder.path.parent, sweep).get("runs", {}) if sweep else {}
        return str(runs.get(folder.signature, ""))

    def _once(self, path: Path, load: Callable[[], Any]) -> Any:
        changed = _changed(path)
        before = self._files.get(path)
        if before is None or before[0] != changed:
            before = self._files[path] = (changed, load())
        return before[1]


def _changed(path: Path) -> int:
    """Time of the last change in nanoseconds, 0 where there is no such file."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _median(rows: Sequence[Mapping[str, Any]], key: str, *more: str) -> float | None:
    """Of the sums of some keys, over the rows that have the first."""
    times = [row[key] + sum(row.get(name, 0.0) for name in more) for row in rows if key in row]
    return median(times) if times else None


def sweep_files(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of the sweep files that asked for a run, from its configuration."""
    named = config.get("sweep") or []
    if isinstance(named, Mapping):  # one whole file: so wrote it version 0.1
        named = [named.get("id")]
    return tuple(str(name) for name in ([named] if isinstance(named, str) else named))
