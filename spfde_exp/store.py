"""The run folder: its only reader and writer. Readable at any moment, whatever is killed when. Needs no torch."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spfde_exp.claim import HEARTBEAT_S, STALE_S, Claim, Taken, slurm_job
from spfde_exp.config import signature
from spfde_exp.errors import UserError
from spfde_exp.failure import CANCELLED, CRASH, Stopped, classify
from spfde_exp.locks import is_locked
from spfde_exp.run_files import RunFiles
from spfde_exp.schema import Config
from spfde_exp.slurm_ending import Ending, ending
from spfde_exp.slurm_queue import queued

SWEEPS = ".sweeps"  # folder of the sweeps' records, in runs_dir
SLURM_LOGS = "slurm"  # folder of a sweep's Slurm jobs, in its record
CANCEL = ".cancel"  # whoever trains a run with this file, or is about to, drops it
ALIVE = "alive"  # a sweep that lives keeps this file of its record locked, and touches it


class AlreadyDone(Exception):
    """The run was finished before this process could own it.

    Attributes:
        summary: of the finished run.
    """

    def __init__(self, summary: dict[str, Any]) -> None:
        super().__init__("the run is done")
        self.summary = summary


def objective(summary: dict[str, Any]) -> float:
    """What a sweeper maximises: accuracy on the hold-out where there is one, else on the test set."""
    return float(summary.get("val_acc", summary["test_acc"]))


class RunFolder(RunFiles):
    """One run on disk: its files, its state, and who may train it."""

    @classmethod
    def of(cls, config: Config) -> "RunFolder":
        """The folder of the run of a resolved configuration."""
        return cls(Path(config.runs_dir) / signature(config))

    def state(self) -> str:
        """How far the run is.

        ``new``; ``pending``, a sweep or a Slurm job is going to start it; ``running``; ``stale``, begun or planned
        and nobody works at it; ``failed``; ``done``.
        """
        if self.summary() is not None:
            return "done"
        status = self.json("status")
        if status is None:
            return "new"
        state = str(status.get("state"))
        if state == "done" or state == "running" and not self._works(status):
            # done without a summary: killed between the two
            return "pending" if state == "running" and _in_queue(status) else "stale"
        if state == "pending" and not self._waits(status):
            return "stale"
        return state

    def _works(self, status: dict[str, Any]) -> bool:
        if status.get("host") == socket.gethostname():
            return is_locked(self.file(".lock"))  # a process id alone may have been used again
        if _in_queue(status) is False:
            return False
        return time.time() - float(status.get("heartbeat") or 0) < STALE_S

    def _waits(self, status: dict[str, Any]) -> bool:
        if status.get("slurm_job"):
            return _in_queue(status) is not False
        alive = self.path.parent / SWEEPS / str(status.get("sweep")) / ALIVE
        if status.get("host") == socket.gethostname():
            return is_locked(alive)
        with suppress(FileNotFoundError):
            return time.time() - alive.stat().st_mtime < STALE_S
        return False

    def slurm_job(self) -> str | None:
        """Id of the Slurm job that trains this run, or is going to; None where none is in the queue."""
        status = self.status()
        going = status.get("state") in ("pending", "running") and _in_queue(status)
        return str(status["slurm_job"]) if going else None

    def set_status(self, state: str, **more: Any) -> None:
        """Write status.json; what is not given stays as it was."""
        status = self.json("status") or {"attempt": 0, "error": None, "failure": None}
        status |= {"state": state, "host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time(), **more}
        self.write_json("status", status)

    # -- ownership

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep owners away for a short write. Raises as `owned`."""
        claim = self._claim()
        claim.lock()
        try:
            yield
        finally:
            claim.release()

    @contextmanager
    def owned(self, again: bool = False, **more: Any) -> Iterator[Claim]:
        """Train the run: own it, with a heartbeat in status.json, which also takes `more`.

        Leaving with an exception marks the run failed, with its class, or pending where it was only stopped.

        Raises:
            Taken: another process, here or on another host, is training this run.
            AlreadyDone: it is done, and not to be trained `again`.
            UserError: the file system has no locks.
        """
        claim = self._claim()
        claim.take()
        try:
            if not again and (summary := self.summary()) is not None:
                raise AlreadyDone(summary)
            self.bury()
            attempt = int(self.status().get("attempt") or 0) + 1
            self.set_status("running", attempt=attempt, error=None, failure=None, **more)
            stop = threading.Event()
            beat = threading.Thread(target=self._beat, args=(stop, claim), daemon=True)
            beat.start()
            end: dict[str, Any] = {"state": "done", "error": None, "failure": None}
            try:
                yield claim
            except BaseException as error:
                stopped = isinstance(error, (KeyboardInterrupt, SystemExit))
                ours = isinstance(error, (UserError, Stopped))
                reason = str(error) if ours else f"{type(error).__name__}: {error}"
                failure = classify(error)
                state = "pending" if stopped and failure != CANCELLED else "failed"
                if self.summary() is None:  # else only its mirror is not complete
                    end = {"state": state, "error": reason, "failure": failure}
                raise
            finally:
                stop.set()
                beat.join()
                if claim.held():  # else the status is that of whoever took this process for dead
                    self._end(**end)
        finally:
            claim.release()

    def _claim(self) -> Claim:
        status = self.status()
        unclaimed = status.get("host") != socket.gethostname() and not any(self.path.glob(".owner.*"))
        if unclaimed and self.state() == "running":  # an older version of this software trains it
            raise Taken(self.signature, status)
        return Claim(self.path)

    def stopped(self, reason: str, failure: str | None) -> None:
        """Say why a process ended that was stopped before it could own the run."""
        with suppress(UserError), self.locked():
            if self.status().get("state") == "pending":
                self.set_status("failed" if failure == CANCELLED else "pending", error=reason, failure=failure)
                if failure == CANCELLED:
                    self.file(CANCEL).unlink(missing_ok=True)

    def bury(self, failure: str | None = None, error: str = "its process ended without a word") -> None:
        """Enter an attempt whose process is gone in the history; call it under the lock, so that nobody works.

        Args:
            failure: its class; None looks for what Slurm knows, and takes `CRASH` where that is nothing.
        """
        status = self.status()
        if status.get("state") == "running":
            known = None if failure else self.slurm_ending()
            failure, error = known or (failure or CRASH, error)
            self._end("failed" if failure else "pending", error, failure)

    def judge(self, state: str, failure: str, error: str) -> None:
        """Say of the last attempt what its process could not know; call it under the lock."""
        self.bury(failure, error)
        status = self.status()
        history = list(status.get("history") or [])
        if history and history[-1].get("attempt") == status.get("attempt"):
            history[-1] = {**history[-1], "state": state, "failure": failure}
        self.set_status(state, error=error, failure=failure, history=history)

    def slurm_ending(self) -> Ending | None:
        """Why Slurm ended the job of the last attempt; None where it did not, or nothing tells."""
        status = self.status()
        if not (job := status.get("slurm_job")):
            return None
        log = self.path.parent / SWEEPS / str(status.get("sweep")) / SLURM_LOGS / f"{job}_0_log.out"
        return ending(log, job, previous=job == slurm_job())

    def _end(self, state: str, error: str | None, failure: str | None) -> None:
        status = self.status()
        ended = {"attempt": status.get("attempt"), "host": status.get("host"), "state": state, "failure": failure}
        history = [*(status.get("history") or []), ended]
        self.set_status(state, error=error, failure=failure, history=history)
        if failure == CANCELLED:
            self.file(CANCEL).unlink(missing_ok=True)

    def _beat(self, stop: threading.Event, claim: Claim) -> None:
        while not stop.wait(HEARTBEAT_S):
            with suppress(OSError):  # a full disk now is no reason to seem dead later
                claim.beat()
                if claim.held():
                    self.set_status("running")


def _in_queue(status: dict[str, Any]) -> bool | None:
    """Whether the Slurm job of a run is in the queue; None where it has none, or nothing tells."""
    job = status.get("slurm_job")
    return queued(job, since=float(status.get("heartbeat") or 0)) if job else None
