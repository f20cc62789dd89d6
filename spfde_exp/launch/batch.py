"""What a Slurm job does: train its runs side by side, each in a process of its own. Imports no torch."""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import submitit
from submitit.helpers import DelayedSubmission

from spfde_exp.claim import STALE_S, slurm_job
from spfde_exp.errors import UserError
from spfde_exp.failure import BAD_INPUT, BY_CANCEL, CANCELLED, CRASH, LOST_NODE, OUT_OF_MEMORY, RETRIED, TIME_LIMIT
from spfde_exp.launch.job import Order
from spfde_exp.launch.oom import oom_kills
from spfde_exp.locks import FileLock
from spfde_exp.slurm_ending import Ending, ending
from spfde_exp.slurm_queue import job_state
from spfde_exp.store import CANCEL, RunFolder

POLL_S = 0.2  # between two looks at the runs
STOP_S = 15.0  # a run that is asked to stop and does not is killed; Slurm itself waits 30 s, unless told otherwise
NOTE_S = 3.0  # for Slurm to say why it ends a job, well before it kills
EARLY_S = 60.0  # Slurm may announce a time limit so much earlier than asked for
MARK_S = 10.0  # within which a run that was just handed in has this job in its status
STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)  # how a run ends that was asked to stop

log = logging.getLogger(__name__)


@dataclass
class Batch:
    """The job of some runs, for submitit to call; with `checkpoint` it can be put back into the queue.

    Attributes:
        orders: the runs; the GPUs of the job are dealt to them in turn.
        retries: how often each is tried again after a failure that may pass.
        minutes: time limit of the job.
        signal_delay_s: seconds before the limit at which Slurm is to announce it.
        given_up: folders of runs that have failed, and are not tried again when the job goes on.
    """

    orders: tuple[Order, ...]
    retries: int
    minutes: int
    signal_delay_s: int
    given_up: set[str] = field(default_factory=set)

    def __call__(self) -> None:
        """Train what is not done.

        Raises:
            SystemExit: a run is not done, so that Slurm's accounting is right; or the job goes on later.
        """
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        logging.getLogger("submitit").propagate = False  # it prints its lines itself
        with tempfile.TemporaryDirectory() as folder:
            alive = FileLock(Path(folder) / "alive")  # on this node, whose own file system has locks for certain
            alive.take()
            Attempt(self, alive.path).run()

    def checkpoint(self) -> DelayedSubmission:
        """What to do when the job starts again: the same, as the runs know themselves how far they are."""
        return DelayedSubmission(self)


class Attempt:
    """One life of a job, from its start to its end or its return to the queue."""

    def __init__(self, batch: Batch, lifeline: Path) -> None:
        self.batch, self.began = batch, time.time()
        self.job = slurm_job() or str(os.getpid())
        self.orders = [replace(order, lifeline=str(lifeline), slurm_job=self.job) for order in deal(batch.orders)]
        self.waiting = list(range(len(self.orders)))  # positions in `orders`, here and below
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.tries: Counter[int] = Counter()
        self.signals: list[int] = []

    def run(self) -> None:
        """Train every run; raises as `Batch`."""
        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's handler
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        kills = oom_kills()
        try:
            while (self.waiting or self.running) and not self.signals:
                self._start_some()
                time.sleep(POLL_S)
                kills = self._collect(kills)
        finally:
            self._stop()
        left = [folder for folder in map(self._folder, range(len(self.orders))) if not _settled(folder)]
        if self.signals:
            self._leave([folder for folder in left if str(folder.path) not in self.batch.given_up], requeue)
        if left:
            log.error("%d of %d runs are not done", len(left), len(self.orders))
            sys.exit(1)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.signals.append(number)  # what is to be done takes time: the main loop does it

    # -- runs

    def _folder(self, place: int) -> RunFolder:
        return RunFolder(Path(self.orders[place].run_dir))

    def _start_some(self) -> None:
        for place in list(self.waiting):
            folder = self._folder(place)
            status = folder.status()
            taken, ours = folder.state() == "running", status.get("slurm_job") == self.job
            here = status.get("host") == socket.gethostname()
            if taken and ours and here and time.time() < self.began + STALE_S:
                continue  # an earlier life of this job is about to end
            if status.get("state") == "pending" and not ours and time.time() < self.began + MARK_S:
                continue  # whoever handed us in is about to write that down
            self.waiting.remove(place)
            if taken and not ours:
                log.warning("run %s is being trained by somebody else", folder.signature)
            elif str(folder.path) in self.batch.given_up:
                log.warning("run %s has failed: %s", folder.signature, status.get("error"))
            elif folder.file(CANCEL).exists():
                _drop(folder)
            elif folder.summary() is None or (folder.config() or {}).get("force"):
                self._start(place, folder)

    def _start(self, place: int, folder: RunFolder) -> None:
        self.tries[place] += 1
        with self._log(folder).open("ab") as output:
            self.running[place] = subprocess.Popen(
                self.orders[place].command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_ignore_usr2,  # Slurm sends it to every process of the job
            )
        log.info("run %s: started as process %d", folder.signature, self.running[place].pid)

    def _log(self, folder: RunFolder) -> Path:
        folder.file("submitit").mkdir(exist_ok=True)
        return folder.file("submitit") / f"{self.job}_log.out"

    def _collect(self, kills: int) -> int:
        """See to the runs that have ended; returns how many processes were killed for memory so far."""
        for place, process in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            del self.running[place]
            before, kills = kills, oom_kills()
            if code != 0 and not self.signals:
                self._failed(place, code, kills > before)
            else:
                log.info("run %s: %s", self.orders[place].run_dir, self._folder(place).state())
        return kills

    def _failed(self, place: int, code: int, out_of_memory: bool) -> None:
        folder = self._folder(place)
        state = folder.state()
        if folder.file(CANCEL).exists():
            _drop(folder)
        elif state != "running" and state != "failed" and code not in STOPPED:
            _judge(folder, "failed", *self._reason(folder, code, out_of_memory))
        status = folder.status()
        log.warning("run %s: status %d, %s %s", folder.signature, code, status.get("state"), status.get("error"))
        if status.get("failure") in RETRIED and self.tries[place] <= self.batch.retries:
            self.waiting.append(place)
        elif status.get("state") == "failed":
            self.batch.given_up.add(str(folder.path))

    def _reason(self, folder: RunFolder, code: int, out_of_memory: bool) -> tuple[str, str]:
        """Class and words for a run whose process wrote none into its status."""
        if code == -signal.SIGKILL and out_of_memory:
            return OUT_OF_MEMORY, "its process was killed: the job's memory is used up"
        lines = self._log(folder).read_text(errors="replace").splitlines() or [""]
        _, told, error = lines[-1].partition(" error: ")
        if told:
            return BAD_INPUT, error
        return CRASH, f"its process ended with status {code}: see {self._log(folder)}"

    # -- the end of the job

    def _stop(self) -> None:
        """Let the runs stop, each at its last checkpoint."""
        for process in self.running.values():
            process.terminate()
        end = time.monotonic() + STOP_S
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
            process.kill()
            process.wait()
        self.running.clear()

    def _leave(self, left: Sequence[RunFolder], requeue: object) -> None:
        """After a signal: go back into the queue if the job is to go on, and else tell the runs that are left why.

        Slurm announces the time limit, and on some clusters preemption, by SIGUSR2. SIGTERM is preemption where the
        job still counts as running; else the job was cancelled, or Slurm has put it back into the queue itself.
        """
        if not left:
            return
        if signal.SIGUSR2 not in self.signals and job_state(self.job) != "RUNNING":
            known = self._why()
            log.warning("stopped: %s", known.error if known else "Slurm does not tell why")
            if known is not None and known.failure is not None:
                for folder in left:
                    state = "pending" if known.failure == LOST_NODE else "failed"  # Slurm has requeued it
                    _judge(folder, state, known.failure, known.error)
            sys.exit(128 + signal.SIGTERM)
        error = f"not one checkpoint within the {self.batch.minutes} minutes of its job; raise hydra.launcher.time"
        if self._progress() or not self._at_limit():
            try:
                assert callable(requeue)
                requeue(signal.SIGUSR2, None)
            except Exception as refused:
                error = f"its job came to its time limit and cannot go on: {' '.join(str(refused).split())}"
        for folder in left:
            _judge(folder, "failed", TIME_LIMIT, error)
        sys.exit(1)

    def _why(self) -> Ending | None:
        """What Slurm says of the job's end. Its note may come a moment after its signal."""
        output, end = submitit.JobEnvironment().paths.stdout, time.monotonic() + NOTE_S
        while (known := ending(output)) is None and time.monotonic() < end:
            time.sleep(0.1)
        return known or ending(output, self.job)

    def _progress(self) -> bool:
        checkpoints = [self._folder(place).file("checkpoint.pt") for place in range(len(self.orders))]
        return any(path.exists() and path.stat().st_mtime > self.began for path in checkpoints)

    def _at_limit(self) -> bool:
        return time.time() - self.began > 60 * self.batch.minutes - self.batch.signal_delay_s - EARLY_S


def deal(orders: Sequence[Order]) -> list[Order]:
    """`orders`, those not for the CPU each with one of the job's GPUs (CUDA_VISIBLE_DEVICES), in turn."""
    gpus = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    wanted = [order for order in orders if (RunFolder(order.run_dir).config() or {}).get("device") != "cpu"]
    if not gpus or not wanted:
        return list(orders)
    packed = -(-len(wanted) // len(gpus))
    dealt = {
        order.run_dir: replace(order, gpu=gpus[place % len(gpus)], runs_per_device=packed)
        for place, order in enumerate(wanted)
    }
    return [dealt.get(order.run_dir, order) for order in orders]


def _settled(folder: RunFolder) -> bool:
    """Whether this job has nothing more to do about a run: it is done, or somebody else trains it."""
    return folder.state() in ("done", "running")


def _judge(folder: RunFolder, state: str, failure: str, error: str) -> None:
    with suppress(UserError), folder.locked():
        folder.judge(state, failure, error)


def _drop(folder: RunFolder) -> None:
    _judge(folder, "failed", CANCELLED, BY_CANCEL)
    folder.file(CANCEL).unlink(missing_ok=True)


def _ignore_usr2() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
