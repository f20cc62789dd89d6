"""Mirror a run folder into Weights & Biases: `python -m spfde_exp.track.wandb_mirror RUN_DIR --mode offline`.

Started by `wandb_sink` beside a run, or by hand for a finished folder. The only module that calls `wandb`.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from spfde_exp.errors import UserError

POLL_S = 0.5  # how often a follower looks for new rows, for its parent and for the end
ORPHAN_GRACE_S = 5.0  # what a child has for finishing once its parent is gone
FOLLOWER_NICE = 5  # 10 made the import of wandb take 10 s on a machine with all cores busy

# Nothing of the machine, the code or the console is collected: meta.json has it, and each costs time.
_QUIET: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "save_code": False,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "symlink": False,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


class Rows:
    """The rows of a growing `metrics.jsonl`, each returned once; lines that are no JSON object are passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def new(self, *, last: bool) -> list[dict[str, Any]]:
        """Rows added since the last call. `last`: nothing more will come, a line without its end counts too."""
        if not self._path.exists():
            return []
        with open(self._path, "rb") as file:
            if file.seek(0, os.SEEK_END) < self._offset:  # cut back by a resume: read it anew
                self._offset, self._rest = 0, b""
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if last:
            lines.append(self._rest)
            self._rest = b""
        return [row for row in map(_parse_row, lines) if row is not None]


def mirror(
    run_dir: Path,
    *,
    mode: Literal["offline", "online"],
    project: str | None = None,
    entity: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    follow: bool = False,
    stop: threading.Event | None = None,
) -> None:
    """Put config, history (one row per epoch, step = epoch) and summary of a run folder into one W&B run.

    The W&B run's id is the signature; its config is `config.yaml` with `meta.json` under the key `meta`; a run
    without `summary.json` is marked failed. Offline, W&B cannot resume: earlier offline runs of this folder
    are removed and the whole history is written anew. Online, the run with this id goes on, and epochs that
    the server has are not sent again.

    Args:
        run_dir: the run folder.
        mode: `offline` writes below `run_dir/wandb/` and uses no network.
        project, entity, group, tags: as in `wandb.init`; None leaves them to the `WANDB_*` environment.
        follow: keep logging new rows until the folder holds a summary or a failed status, or `stop` is set.
        stop: set it to say that no further row will come.

    Raises:
        UserError: `run_dir` is no run folder, or wandb is not installed.
    """
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"{run_dir} is no run folder (no config.yaml): give the folder <runs_dir>/<signature>")
    stop = stop or threading.Event()
    run = _init(run_dir, mode, project=project, entity=entity, group=group, tags=list(tags))
    rows = Rows(run_dir / "metrics.jsonl")
    next_epoch = run.step if run.resumed else 0
    while True:
        # Asked before reading the rows, or one that is written in between would be missed.
        ended = not follow or stop.is_set() or _ended(run_dir)
        fresh = {row["epoch"]: row for row in rows.new(last=ended)}
        for epoch in sorted(e for e in fresh if e >= next_epoch):
            # commit: W&B would hold the row back until the next one, and the last row would then overwrite
            # the keys that it shares with the summary.
            run.log(fresh[epoch], step=epoch, commit=True)
            next_epoch = epoch + 1
        if ended:
            break
        stop.wait(POLL_S)
    summary = _read_json(run_dir / "summary.json")
    if summary is not None:
        run.summary.update(summary)
    run.finish(exit_code=1 if summary is None else 0)


def _init(
    run_dir: Path,
    mode: Literal["offline", "online"],
    *,
    project: str | None,
    entity: str | None,
    group: str | None,
    tags: list[str],
) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UserError("wandb is not installed: pip install wandb, or choose another logger") from error
    meta = _read_json(run_dir / "meta.json") or {}
    signature = str(meta.get("signature", run_dir.resolve().name))
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8")) or {}
    if mode == "offline":
        for earlier in (run_dir / "wandb").glob("offline-run-*"):
            shutil.rmtree(earlier)
    # The x_ settings are no promise of W&B: those that this version does not know are left out.
    known = getattr(wandb.Settings, "model_fields", {})
    return wandb.init(
        id=signature[:64],
        name=signature[:12],
        config={**config, "meta": meta},
        dir=str(run_dir),
        mode=mode,
        project=project,
        entity=entity,
        group=group,
        tags=tags,
        resume="allow" if mode == "online" else None,
        allow_val_change=True,  # a resumed run has other times and maybe another host in its meta
        settings=wandb.Settings(**{key: value for key, value in _QUIET.items() if key in known}),
    )


def _parse_row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return _parse_row(path.read_bytes())
    except FileNotFoundError:
        return None


def _ended(run_dir: Path) -> bool:
    status = _read_json(run_dir / "status.json") or {}
    return (run_dir / "summary.json").exists() or status.get("state") == "failed"


def _watch_parent(parent_pid: int, stop: threading.Event) -> None:
    """Set `stop` when the parent speaks (one line on stdin, or its end); with the parent gone, end the process.

    The parent's id is what tells of its death: worker processes that it forked may hold the pipe open.
    """
    while os.getppid() == parent_pid:
        if stop.is_set():
            time.sleep(POLL_S)
        elif select.select([sys.stdin], [], [], POLL_S)[0]:
            stop.set()
    stop.set()
    time.sleep(ORPHAN_GRACE_S)
    os._exit(1)  # stuck in W&B, and nobody is left to kill it


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m spfde_exp.track.wandb_mirror", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--mode", choices=("offline", "online"), default="offline")
    parser.add_argument("--project")
    parser.add_argument("--entity")
    parser.add_argument("--group")
    parser.add_argument("--tags", default="", help="comma-separated")
    parser.add_argument("--follow", action="store_true", help="go on until the run has ended")
    parser.add_argument("--parent-pid", type=int, help="end with this process (used by the run)")
    args = parser.parse_args(argv)

    stop = threading.Event()
    if args.parent_pid is not None:
        # Slurm sends a warning signal to every process of a job step; the run answers it, not its mirror.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        threading.Thread(target=_watch_parent, args=(args.parent_pid, stop), daemon=True).start()
    if args.follow:
        os.nice(FOLLOWER_NICE)
    if args.mode == "offline":
        # Offline means no network, also for W&B's own error reports.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        mirror(
            args.run_dir,
            mode=args.mode,
            project=args.project,
            entity=args.entity,
            group=args.group,
            tags=[tag for tag in args.tags.split(",") if tag],
            follow=args.follow,
            stop=stop,
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
