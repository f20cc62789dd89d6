"""A pool of submitit's local jobs: never more at once than there are slots."""

import logging
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import submitit

from spfde_exp.errors import UserError
from spfde_exp.failure import CANCELLED, CRASH, RETRIED
from spfde_exp.launch.job import Order, run_job
from spfde_exp.launch.record import SweepRecord
from spfde_exp.launch.sharing import SharedSlots
from spfde_exp.launch.signals import GRACE_S
from spfde_exp.launch.slots import Slot
from spfde_exp.launch.sweep import Outcome, RunFailed
from spfde_exp.locks import FileLock
from spfde_exp.store import CANCEL, RunFolder, objective

FOREVER_MIN = 60 * 24 * 365  # submitit stops a local job after 2 minutes unless told otherwise
ELSEWHERE_S = 1.0  # between two looks at runs that somebody else trains
ALIVE_S = 15.0  # between two signs of life of the sweep
STOP_S = GRACE_S + 2  # within which a job that is asked to stop has ended, or is ended

log = logging.getLogger(__name__)


@dataclass
class Task:
    """One run to train: its folder, what the user asked for, and whether a finished one is trained again."""

    folder: RunFolder
    overrides: list[str]
    again: bool = False
    retries: int = 0
    reserved: FileLock = field(init=False)

    def __post_init__(self) -> None:
        # Two sweeps that ask for the same run do not start two processes, of which one would find it taken.
        self.reserved = FileLock(self.folder.file(".reserved"))


@dataclass
class _Job:
    task: Task
    slot: Slot
    job: "submitit.Job[Any]"


class Pool:
    """Runs every task as a process of its own, or waits for whoever trains it already.

    Args:
        tasks: in the order in which they are to start.
        slots: where they may run.
        record: of the sweep.
        outcomes: takes, by signature, the accuracy in percent or what went wrong.
        show: called often, with the signatures of running and of waiting runs.
        poll_s: seconds between two looks at the jobs.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        slots: SharedSlots,
        record: SweepRecord,
        outcomes: dict[str, Outcome],
        show: Callable[[Collection[str], Collection[str]], None],
        poll_s: float,
    ) -> None:
        self.waiting, self.slots, self.record = list(tasks), slots, record
        self.outcomes, self.show, self.poll_s = outcomes, show, poll_s
        self.running: list[_Job] = []
        self.elsewhere: list[Task] = []
        self._looked = self._touched = 0.0

    def run(self) -> None:
        """Train all tasks; stopped from the keyboard, stop what runs and leave it ready to go on."""
        logging.getLogger("submitit").setLevel(logging.ERROR)
        try:
            while self.waiting or self.running or self.elsewhere:
                self._start_some()
                self._collect()
                self._look_elsewhere()
                self._give_signs()
                if self.waiting or self.running or self.elsewhere:
                    time.sleep(self.poll_s)
        except BaseException:
            self._stop()
            raise

    # -- one round

    def _start_some(self) -> None:
        self.slots.want(bool(self.waiting))
        while self.waiting and (slot := self.slots.take()) is not None:
            task = self._next()
            if task is None:
                self.slots.give_back(slot)
                return
            self.running.append(_Job(task, slot, self._submit(task, slot)))

    def _next(self) -> Task | None:
        """The first waiting task that nobody else is at."""
        while self.waiting:
            task = self.waiting.pop(0)
            if task.folder.file(CANCEL).exists():
                self._drop(task)
            elif not task.reserved.take() or task.folder.state() == "running":
                task.reserved.release()
                self.elsewhere.append(task)
            elif not task.again and (summary := task.folder.summary()) is not None:
                task.reserved.release()
                self._report(task, objective(summary))
            else:
                return task
        return None

    def _submit(self, task: Task, slot: Slot) -> "submitit.Job[Any]":
        busy, sharing = self.slots.busy(slot)
        order = Order(
            run_dir=str(task.folder.path.absolute()),
            overrides=task.overrides,
            sweep=self.record.id,
            threads=slot.threads,
            gpu=slot.gpu,
            runs_per_device=slot.packed,
            lifeline=str(self.slots.lifeline),
            busy=tuple(busy),
            sharing=sharing,
        )
        executor = submitit.LocalExecutor(folder=task.folder.file("submitit"))
        executor.update_parameters(timeout_min=FOREVER_MIN, stderr_to_stdout=True)
        # Ctrl-C reaches the whole terminal; submitit's controller would give the run one second to end.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            return executor.submit(run_job, order)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))

    def _collect(self) -> None:
        for entry in [entry for entry in self.running if entry.job.done()]:
            self.running.remove(entry)
            self.slots.give_back(entry.slot)
            self._end(entry.task, entry.job)
            entry.task.reserved.release()

    def _end(self, task: Task, job: "submitit.Job[Any]") -> None:
        reason = _died(task, job)
        status = task.folder.json("status") or {}
        if reason is None:
            self._report(task, objective(task.folder.summary() or {}))
        elif task.folder.file(CANCEL).exists():
            self._drop(task)
        elif task.folder.state() == "running":
            self.elsewhere.append(task)
        elif status.get("failure") in RETRIED and task.retries > 0:
            task.retries -= 1
            log.warning("run %s failed (%s) and is tried again: %s", task.folder.signature, status["failure"], reason)
            self.waiting.append(task)
        else:
            self._report(task, RunFailed(reason))

    def _drop(self, task: Task) -> None:
        with suppress(UserError), task.folder.locked():
            task.folder.set_status("failed", error="cancelled by `runs cancel`", failure=CANCELLED)
            task.folder.file(CANCEL).unlink(missing_ok=True)
        self._report(task, RunFailed("cancelled by `runs cancel`"))

    def _look_elsewhere(self) -> None:
        if time.monotonic() - self._looked < ELSEWHERE_S:
            return
        self._looked = time.monotonic()
        for task in list(self.elsewhere):
            state = task.folder.state()
            if state == "running" or not task.reserved.take():
                continue
            task.reserved.release()
            self.elsewhere.remove(task)
            if (summary := task.folder.summary()) is not None:
                self._report(task, objective(summary))
            elif state == "failed":  # just now, by whoever else was asked for it
                self._report(task, RunFailed(str((task.folder.json("status") or {}).get("error"))))
            else:
                self.waiting.insert(0, task)

    def _report(self, task: Task, outcome: Outcome) -> None:
        self.outcomes[task.folder.signature] = outcome

    def _give_signs(self) -> None:
        running = [entry.task for entry in self.running] + self.elsewhere
        self.show([task.folder.signature for task in running], [task.folder.signature for task in self.waiting])
        if time.monotonic() - self._touched > ALIVE_S:
            self._touched = time.monotonic()
            self.record.touch()

    def _stop(self) -> None:
        """Let the jobs stop at once, each at its last checkpoint."""
        if self.running:
            log.warning("stopping %d runs; they go on from their last checkpoints", len(self.running))
        self.slots.let_go()
        end = time.monotonic() + STOP_S
        while any(not entry.job.done() for entry in self.running) and time.monotonic() < end:
            time.sleep(0.05)


def _died(task: Task, job: "submitit.Job[Any]") -> str | None:
    """Why a job that has ended did not finish its run, put down in its status; None if it did."""
    told = job.paths.result_pickle.exists()  # submitit would wait for that of a killed process
    error = job.exception() if told else None
    if told and error is None:
        return None
    status = task.folder.json("status") or {}
    if status.get("error") and status.get("state") in ("failed", "pending"):
        return str(status["error"])
    reason = f"its process was killed: see {task.folder.file('submitit')}"
    if error is not None:  # before it owned the run; the last line of a traceback
        reason = str(error).strip().splitlines()[-1].split("UserError: ")[-1]
    with suppress(UserError), task.folder.locked():
        task.folder.bury(CRASH, reason)
        task.folder.set_status("failed", error=reason, failure=CRASH)
    return reason
