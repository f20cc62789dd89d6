"""A pool of submitit's local jobs: never more at once than there are slots."""

import logging
import pickle
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import submitit

from spfde_exp.errors import UserError
from spfde_exp.failure import BAD_INPUT, BY_CANCEL, CANCELLED, CRASH, RETRIED
from spfde_exp.launch.job import Order, run_job
from spfde_exp.launch.record import SweepRecord
from spfde_exp.launch.sharing import SharedSlots
from spfde_exp.launch.signals import GRACE_S
from spfde_exp.launch.slots import Slot
from spfde_exp.launch.sweep import Outcome, RunFailed
from spfde_exp.locks import FileLock
from spfde_exp.store import CANCEL, RunFolder, objective

FOREVER_MIN = 60 * 24 * 365  # submitit stops a local job after 2 minutes unless told otherwise
POLL_S = 0.2  # between two looks at the jobs
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
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        slots: SharedSlots,
        record: SweepRecord,
        outcomes: dict[str, Outcome],
        show: Callable[[Collection[str], Collection[str]], None],
    ) -> None:
        self.waiting, self.slots, self.record = list(tasks), slots, record
        self.outcomes, self.show = outcomes, show
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
                    time.sleep(POLL_S)
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
            # Ctrl-C reaches the whole terminal; submitit's controller would give the run one second to end.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
            try:
                self.running.append(_Job(task, slot, self._submit(task, slot)))
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))

    def _next(self) -> Task | None:
        """The first waiting task that nobody else is at."""
        while self.waiting:
            task = self.waiting.pop(0)
            if task.folder.file(CANCEL).exists():
                self._drop(task)
            elif not task.folder.path.exists():
                self._report(task, RunFailed("its folder was removed"))
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
            lifeline=str(self.record.lifeline),
            busy=tuple(busy),
            sharing=sharing,
        )
        executor = submitit.LocalExecutor(folder=task.folder.file("submitit"))
        executor.update_parameters(timeout_min=FOREVER_MIN, stderr_to_stdout=True)
        for old in task.folder.path.glob("submitit/*_result.pkl"):  # a job is named by its process, and that again
            old.unlink(missing_ok=True)
        return executor.submit(run_job, order)

    def _collect(self) -> None:
        for entry in [entry for entry in self.running if entry.job.done()]:
            self.running.remove(entry)
            self.slots.give_back(entry.slot)
            self._end(entry.task, entry.job)
            entry.task.reserved.release()

    def _end(self, task: Task, job: "submitit.Job[Any]") -> None:
        kind, told = _answer(job)
        folder, summary = task.folder, task.folder.summary()
        if summary is not None and (kind == "success" or not task.again):  # else it is of the training before
            self._report(task, objective(summary))
        elif folder.file(CANCEL).exists():
            self._drop(task)
        elif not folder.path.exists():
            self._report(task, RunFailed("its folder was removed"))
        elif told.startswith("spfde_exp.claim.Taken: ") or folder.state() == "running":
            self.elsewhere.append(task)
        else:
            self._failed(task, *_why(folder, told))

    def _failed(self, task: Task, failure: str | None, reason: str) -> None:
        if failure in RETRIED and task.retries > 0:
            task.retries -= 1
            log.warning("run %s failed (%s) and is tried again: %s", task.folder.signature, failure, reason)
            self.waiting.append(task)
        else:
            self._report(task, RunFailed(reason))

    def _drop(self, task: Task) -> None:
        with suppress(UserError), task.folder.locked():
            task.folder.set_status("failed", error=BY_CANCEL, failure=CANCELLED)
            task.folder.file(CANCEL).unlink(missing_ok=True)
        self._report(task, RunFailed(BY_CANCEL))

    def _look_elsewhere(self) -> None:
        if time.monotonic() - self._looked < ELSEWHERE_S:
            return
        self._looked = time.monotonic()
        for task in list(self.elsewhere):
            folder = task.folder
            if folder.path.exists():
                if folder.state() == "running" or not task.reserved.take():
                    continue
                task.reserved.release()
            self.elsewhere.remove(task)
            if (summary := folder.summary()) is not None:
                self._report(task, objective(summary))
            elif folder.state() == "failed":  # just now, by whoever else was asked for it
                self._report(task, RunFailed(str(folder.status().get("error"))))
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
            for task in self.waiting:
                if task.folder.state() == "stale":  # a sweep that was asked for it too is gone: it is ours now
                    with suppress(UserError), task.folder.locked():
                        task.folder.set_status("pending", sweep=self.record.id)

    def _stop(self) -> None:
        """Let the jobs stop at once, each at its last checkpoint."""
        if self.running:
            log.warning("stopping %d runs; they go on from their last checkpoints", len(self.running))
        self.record.let_go()
        end = time.monotonic() + STOP_S
        while any(not entry.job.done() for entry in self.running) and time.monotonic() < end:
            time.sleep(0.05)


def _answer(job: "submitit.Job[Any]") -> tuple[str | None, str]:
    """What a job that has ended left: "success", "error" and the last line of its traceback, or nothing."""
    if not job.paths.result_pickle.exists():  # stopped, or killed; submitit would wait for it
        return None, ""
    with job.paths.result_pickle.open("rb") as file:
        kind, value = pickle.load(file)
    return kind, str(value).strip().splitlines()[-1] if kind == "error" else ""


def _why(folder: RunFolder, told: str) -> tuple[str | None, str]:
    """Class and words of what ended a run; put down in its status, where its process did not."""
    status = folder.status()
    if status.get("error") and status.get("state") in ("failed", "pending"):
        return status.get("failure"), str(status["error"])
    failure, reason = CRASH, told or f"its process was killed: see {folder.file('submitit')}"
    if told.startswith("spfde_exp."):  # before it owned the run
        failure, reason = BAD_INPUT, told.partition(": ")[2]
    with suppress(UserError), folder.locked():
        folder.bury(failure, reason)
        folder.set_status("failed", error=reason, failure=failure)
    return failure, reason
