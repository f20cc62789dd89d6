"""Print what the job of a run wrote."""

import argparse
import shutil
import sys
import time
from pathlib import Path

from spfde_exp.errors import UserError
from spfde_exp.progress import GOING
from spfde_exp.selection import add_runs, one_run
from spfde_exp.store import SLURM_LOGS, SWEEPS, RunFolder

FOLLOW_S = 0.5  # between two looks at a log that grows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument("signature", metavar="SIG", help="a run, by the beginning of its signature")
    add_runs(parser)
    parser.add_argument("--follow", action="store_true", help="go on printing until the run has ended")
    parser.add_argument("--attempt", type=int, metavar="N", help="the N-th job of the run (default: the newest)")


def run(arguments: argparse.Namespace) -> None:
    """Print the log."""
    folder = one_run(arguments.runs, arguments.signature)
    if arguments.attempt is not None:
        _print(_attempt(folder, arguments.attempt))
    elif arguments.follow:
        try:
            follow(folder)
        except KeyboardInterrupt:  # whoever reads has seen enough; the run does not notice
            sys.exit(130)
    else:
        _print(newest_log(folder) or _no_log(folder))


def logs(folder: RunFolder) -> list[Path]:
    """Outputs of the jobs of a run, oldest first: one per job, as a requeued job goes on in its own.

    A Slurm job that ended before it came to the run has written elsewhere only, and more than this run's part.
    """
    found = sorted(folder.file("submitit").glob("*_log.out"), key=lambda path: path.stat().st_mtime_ns)
    status = folder.status()
    shared = (
        folder.path.parent / SWEEPS / str(status.get("sweep")) / SLURM_LOGS / f"{status.get('slurm_job')}_0_log.out"
    )
    return found or ([shared] if shared.is_file() else [])


def newest_log(folder: RunFolder) -> Path | None:
    """The output of the job that wrote last, None where no job has begun."""
    found = logs(folder)
    return found[-1] if found else None


def _attempt(folder: RunFolder, number: int) -> Path:
    found = logs(folder)
    if not found:
        return _no_log(folder)
    if not 1 <= number <= len(found):
        raise UserError(f"--attempt {number}: run {folder.signature} has jobs 1 to {len(found)}")
    return found[number - 1]


def _no_log(folder: RunFolder) -> Path:
    state = folder.state()
    why = "it has not begun" if state in ("new", "pending") else "it was trained in a terminal, or its log was not kept"
    raise UserError(f"run {folder.signature} is {state} and has no log: {why}")


def _print(path: Path) -> None:
    sys.stdout.flush()
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.flush()


def follow(folder: RunFolder) -> None:
    """Print the newest log as it grows, and the log of a next attempt, until nobody works at the run."""
    path, position = None, 0
    while True:
        going = folder.state() in GOING  # before the last look, so that nothing is missed
        newest = newest_log(folder)
        if newest is None and not going:
            _no_log(folder)
        if newest is not None:
            path, position = (path, position) if newest == path else (newest, 0)
            with newest.open("rb") as file:
                file.seek(position)
                shutil.copyfileobj(file, sys.stdout.buffer)
                position = file.tell()
            sys.stdout.flush()
        if not going:
            return
        time.sleep(FOLLOW_S)
