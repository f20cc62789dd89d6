"""A pool of submitit's local jobs: never more at once than there are slots."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import submitit

from spfde_exp.errors import UserError
from spfde_exp.launch.job import run_job
from spfde_exp.launch.slots import Slot
from spfde_exp.store import RunFolder

FOREVER_MIN = 60 * 24 * 365  # submitit stops a local job after 2 minutes unless told otherwise


@dataclass
class Task:
    """One run to train: its folder, and what the user asked for."""

    folder: RunFolder
    overrides: list[str]


def run_pool(
    tasks: Sequence[Task],
    slots: Sequence[Slot],
    write: Callable[[Task, Slot], None],
    report: Callable[[Task, float | Exception], None],
    poll_s: float,
) -> None:
    """Run every task as a process of its own.

    Args:
        write: called before a task starts, to put its configuration down.
        report: called when a task has ended, with its accuracy or what went wrong.
        poll_s: seconds between two looks at the jobs.
    """
    logging.getLogger("submitit").setLevel(logging.WARNING)
    waiting, free = list(tasks), list(slots)
    running: list[tuple[Task, Slot, submitit.Job[Any]]] = []
    try:
        while waiting or running:
            while waiting and free:
                task, slot = waiting.pop(0), free.pop(0)
                write(task, slot)
                executor = submitit.LocalExecutor(folder=task.folder.file("submitit"))
                executor.update_parameters(timeout_min=FOREVER_MIN, stderr_to_stdout=True)
                job = executor.submit(run_job, str(task.folder.path.absolute()), task.overrides, slot.gpu)
                running.append((task, slot, job))
            for entry in [entry for entry in running if entry[2].done()]:
                running.remove(entry)
                free.append(entry[1])
                report(entry[0], _outcome(entry[0], entry[2]))
            if running:
                time.sleep(poll_s)
    except BaseException:
        for _, _, job in running:
            job.cancel()
        raise


def _outcome(task: Task, job: "submitit.Job[Any]") -> float | Exception:
    try:
        return float(job.result())
    except Exception as error:  # whatever ended the job, the other runs go on
        status, state = task.folder.json("status") or {}, task.folder.state()
        if state == "failed" and status.get("error"):
            return RuntimeError(status["error"])
        if state == "running":
            return RuntimeError(f"it is being trained by process {status.get('pid')} on {status.get('host')}")
        lines = str(error).strip().splitlines() or [type(error).__name__]
        killed = f"the job's process was killed: see {task.folder.file('submitit')}"
        reason = lines[-1].split("UserError: ")[-1] if "Error: " in lines[-1] else killed
        with suppress(UserError), task.folder.locked():
            task.folder.set_status("failed", error=reason)
        return RuntimeError(reason)
