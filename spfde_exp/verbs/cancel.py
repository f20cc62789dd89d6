"""Stop runs that are running, and drop those that wait."""

import argparse
import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection
from contextlib import suppress

from spfde_exp.claim import Taken
from spfde_exp.errors import UserError
from spfde_exp.failure import BY_CANCEL, CANCELLED
from spfde_exp.progress import GOING, Reader, RunProgress
from spfde_exp.selection import Filters, add_filters, counted, filters, none_pass, select
from spfde_exp.store import CANCEL, RunFolder

WAIT_S = 10.0  # what running runs get to stop in, before we say that they have not yet

Chosen = list[tuple[RunFolder, RunProgress]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    add_filters(parser)
    parser.add_argument("--all", action="store_true", help="every run of the folder that is running or waits")


def run(arguments: argparse.Namespace) -> None:
    """Cancel the chosen runs and tell what became of them."""
    wanted, reader = filters(arguments), Reader()
    if not wanted and not arguments.all:
        raise UserError("name the runs to cancel, or choose them with --state, --sweep or --where, or --all")
    chosen = select(arguments.runs, wanted, reader)
    if not chosen:
        print(none_pass(arguments.runs) if wanted else f"{arguments.runs} holds no runs")
        return
    going = [(folder, run) for folder, run in chosen if run.state in GOING]
    if wanted.signatures:
        for _, run in chosen:
            if run.state not in GOING:
                print(f"run {run.signature} is {run.state}: nothing to cancel")
    for folder, _ in going:
        folder.file(CANCEL).touch()
    everyone = select(arguments.runs, Filters(), reader)
    _cancel_jobs(jobs_to_cancel({folder.path for folder, _ in going}, everyone))
    for folder, run in going:
        _stop(folder, run)
    _wait([folder for folder, _ in going])
    left = []
    for folder, _ in going:
        if folder.state() in GOING:
            left.append(folder.signature)
        print(f"run {folder.signature} is {_outcome(folder)}")
    print(f"{len(going) - len(left)} of {counted(len(going))} cancelled")
    if left:
        raise UserError(f"not stopped yet: {', '.join(left)}; each stops when its process sees the mark in its folder")


def jobs_to_cancel(cancelled: Collection[object], everyone: Chosen) -> list[str]:
    """Slurm jobs all of whose unfinished runs are cancelled; a job may train several.

    Args:
        cancelled: paths of the cancelled runs.
        everyone: all runs of the folder.
    """
    jobs: dict[str, bool] = {}
    for folder, run in everyone:
        if run.slurm_job and run.state in GOING:
            jobs[run.slurm_job] = jobs.get(run.slurm_job, True) and folder.path in cancelled
    return [job for job, whole in jobs.items() if whole]


def _cancel_jobs(jobs: list[str]) -> None:
    for start in range(0, len(jobs), 100):  # a command line has an end
        try:
            subprocess.run(["scancel", *jobs[start : start + 100]], timeout=60, check=True, capture_output=True)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"scancel failed ({error}); the jobs end when they see that their runs are cancelled")


def _stop(folder: RunFolder, run: RunProgress) -> None:
    try:
        drop(folder)
    except Taken:
        # This host's lock is held, so the owner lives and its process id has not been used again.
        if folder.state() == "running" and run.host == socket.gethostname() and run.pid:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(run.pid, signal.SIGTERM)


def drop(folder: RunFolder) -> None:
    """Mark a run that nobody trains as cancelled.

    Raises:
        Taken: somebody trains it.
    """
    with folder.locked():
        status = folder.status()
        if folder.summary() is None and (status.get("state"), status.get("failure")) != ("failed", CANCELLED):
            folder.bury(CANCELLED, BY_CANCEL)
            folder.set_status("failed", error=BY_CANCEL, failure=CANCELLED)


def _wait(folders: list[RunFolder]) -> None:
    """Until no run is trained any more, or for `WAIT_S`; then mark what was killed and could not say so."""
    end, left = time.monotonic() + WAIT_S, list(folders)
    while left:
        left = [folder for folder in left if folder.state() == "running"]
        if not left or time.monotonic() > end:
            break
        time.sleep(0.1)
    for folder in folders:
        with suppress(Taken):
            drop(folder)


def _outcome(folder: RunFolder) -> str:
    status = folder.status()
    return "cancelled" if status.get("failure") == CANCELLED else folder.state()
