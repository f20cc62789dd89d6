"""Waiting for runs that Slurm trains."""

import time
from contextlib import suppress

from spfde_exp.errors import UserError
from spfde_exp.launch.live import LiveTable
from spfde_exp.launch.sweep import Outcome, Run, RunFailed, Sweep
from spfde_exp.slurm_queue import queued
from spfde_exp.store import RunFolder, objective

WAIT_S = 5.0  # between two looks at the runs, and at the queue


def wait_for(sweep: Sweep, slots: int) -> dict[str, Outcome]:
    """Show how the runs of `sweep.todo` get on until each is done, or its job has left the queue.

    Args:
        slots: runs at once, at most.

    Returns:
        By signature the accuracy in percent, or what went wrong.
    """
    going = list(sweep.todo)
    with LiveTable.of(sweep, slots) as live:
        while True:
            going = [run for run in going if not _over(run.folder)]
            running = [run.name for run in going if run.folder.state() == "running"]
            live.update(running, [run.name for run in going if run.name not in running])
            if not going:
                break
            time.sleep(WAIT_S)
    return {run.name: _outcome(run) for run in sweep.todo}


def _over(folder: RunFolder) -> bool:
    if folder.summary() is not None and not (folder.config() or {}).get("force"):
        return True
    status = folder.status()
    job = status.get("slurm_job")
    waits = queued(job, since=float(status.get("heartbeat") or 0)) is not False if job else False
    return not waits and folder.state() not in ("running", "pending")


def _outcome(run: Run) -> Outcome:
    folder = run.folder
    if (summary := folder.summary()) is not None:
        return objective(summary)
    with suppress(UserError), folder.locked():
        folder.bury()
        known = folder.slurm_ending()
        if folder.status().get("state") == "pending" and known is not None and known.failure is not None:
            folder.judge("failed", known.failure, known.error)
    status = folder.status()
    job = status.get("slurm_job")
    return RunFailed(str(status.get("error") or f"its Slurm job {job} has left the queue before it was done"))
