"""A sweep on a private Slurm that is disturbed in every way, against the same runs trained locally, bit for bit.

    python benchmarks/slurm.py [--tiny] [--keep DIR]

Runs are put back into the queue, cancelled, stopped at their time limit and lose their node; after one more
submission all have to be done, each once, equal to the local ones. Exit status 0 if so. --tiny: 10 short runs.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from _slurm_cluster import missing, private_slurm

from spfde_exp.launch.table import print_table
from spfde_exp.store import RunFolder

ROOT = Path(__file__).resolve().parents[1]
FULL = ("seed=range(0,40)", "epochs=20")
TINY = ("seed=range(0,10)", "debug=tiny", "epochs=48")
WAIT_S = 180.0
TIMED = ("epoch_time_s", "eval_time_s", "epoch_time_mean_s", "train_time_s")  # differ from run to run


@dataclass
class Event:
    """One disturbance.

    Attributes:
        what: in words.
        run: whom it hit.
        epochs: finished by then.
        then: state and failure class that the run had next.
    """

    what: str
    run: RunFolder
    epochs: int
    then: str = ""


@dataclass
class Storm:
    """A disturbed sweep.

    Attributes:
        folder: where the runs lie, in ``runs``.
        overrides: what is swept.
        printed: what the command that submitted it printed.
        events: what happened to it.
    """

    folder: Path
    overrides: Sequence[str]
    printed: str = ""
    events: list[Event] = field(default_factory=list)

    def go(self) -> int:
        """Submit, disturb, submit once more and wait; returns the exit status of the last command."""
        slurm = ("hydra/launcher=slurm", "hydra.launcher.cpus=1", "hydra.launcher.signal_delay_s=10")
        self.printed = spfde_exp(self.folder, *self.overrides, *slurm).stdout
        for node in ("n0", "n1"):
            back = self._working(node)
            self._hit("scontrol requeue", back, ["scontrol", "requeue", job(back)])
        unwanted = self._working("n0")
        self._hit("scancel", unwanted, ["scancel", job(unwanted)], failure="cancelled")
        down = ["scontrol", "update", "nodename=n1", "state=down", "reason=storm"]
        self._hit("node set down", self._working("n1"), down, failure="lost_node")
        call("scontrol", "update", "nodename=n1", "state=resume")
        urgent = ["sbatch", "--partition=urgent", "--nodelist=n0", "--exclusive", "--output=/dev/null", "--wrap=true"]
        self._hit("preemption", self._working("n0"), urgent)
        frozen = self._working("n1")  # so that its job is still there when Slurm looks at time limits, every 30 s
        os.kill(status(frozen, "pid"), signal.SIGSTOP)
        self._hit("time limit", frozen, ["scontrol", "update", f"jobid={job(frozen)}", "endtime=now"])
        return spfde_exp(self.folder, *self.overrides, *slurm, "hydra.launcher.wait=true", check=False).returncode

    def _hit(self, what: str, run: RunFolder, command: Sequence[str], failure: str | None = None) -> None:
        """Disturb a run, and wait until it has stopped and knows why."""
        event = Event(what, run, len(run.metrics()))
        self.events.append(event)
        call(*command)

        def stopped() -> bool:
            why = (status(run, "state") != "running", status(run, "failure"))
            return run.summary() is not None or why == (True, failure)

        until(f"run {run.signature} to stop after {what}", stopped)
        event.then = " ".join(filter(None, (status(run, "state"), status(run, "failure"))))

    def _working(self, node: str) -> RunFolder:
        """A run that nothing has hit yet, on a certain node, with most of its training before it."""
        hit = {event.run.path for event in self.events}
        found: list[RunFolder] = []

        def find() -> bool:
            jobs = call("squeue", "--noheader", "--states=running", f"--nodelist={node}", "--format=%i").split()
            runs = [run for run in self.runs() if run.path not in hit and job(run) in jobs and run.summary() is None]
            begun = [run for run in runs if len(run.metrics()) > 1]  # so that there is a checkpoint
            found[:] = sorted(begun, key=lambda run: len(run.metrics()))
            return bool(found)

        until(f"a run at work on {node}", find)
        return found[0]

    def runs(self) -> list[RunFolder]:
        """All runs, by signature."""
        return [RunFolder(path.parent) for path in sorted((self.folder / "runs").glob("*/status.json"))]


def status(run: RunFolder, key: str) -> Any:
    return (run.json("status") or {}).get(key)


def job(run: RunFolder) -> str:
    return str(status(run, "slurm_job"))


def call(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def spfde_exp(folder: Path, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """`python -m spfde_exp -m ARGUMENTS...` in `folder`; one thread per run."""
    command = [sys.executable, "-m", "spfde_exp", "-m", *arguments, "logger=none", "threads=1"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    folder.mkdir(exist_ok=True)
    return subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=check)


def until(what: str, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > end:
            cluster = call("squeue") + call("sinfo", "--long", "--Node")
            raise TimeoutError(f"waited {WAIT_S:.0f} s for {what}\n{cluster}")
        time.sleep(0.1)


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """What is not the same, bit for bit, in two runs: metrics, summary, weights and masks; times apart."""
    found = [
        name for name in ("metrics", "summary") if untimed(getattr(one, name)()) != untimed(getattr(other, name)())
    ]
    a, b = (torch.load(run.file("model.pt"), weights_only=True) for run in (one, other))
    parts = [(part, key) for part in a for key in a[part]]
    if [(part, key) for part in b for key in b[part]] != parts:
        return [*found, "tensors"]
    return found + [f"{part}/{key}" for part, key in parts if not torch.equal(a[part][key], b[part][key])]


def untimed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: untimed(item) for key, item in value.items() if key not in TIMED}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def done_once(run: RunFolder, epochs: int) -> bool:
    """Whether the run was finished by one attempt only, with one row for each epoch."""
    ends = [attempt["state"] for attempt in status(run, "history")]
    return ends.count("done") == 1 and [row["epoch"] for row in run.metrics()] == list(range(epochs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="10 short runs instead of 40")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the runs there (default: remove them)")
    arguments = parser.parse_args()
    if reason := missing():
        sys.exit(f"no Slurm can be started here: {reason}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.keep or Path(scratch)).resolve()
        sys.exit(0 if compare(folder, TINY if arguments.tiny else FULL) else 1)


def compare(folder: Path, overrides: Sequence[str]) -> bool:
    """Run the storm and its local twin below `folder` and print what happened; whether all is as it has to be."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with private_slurm(folder / "cluster") as env:
        os.environ.update(env)
        storm = Storm(folder / "slurm", overrides)
        exit_status = storm.go()
    took = time.monotonic() - begin
    spfde_exp(folder / "local", *overrides, "hydra/launcher=inline")
    return report(storm, folder / "local" / "runs", exit_status, took)


def report(storm: Storm, local: Path, exit_status: int, took: float) -> bool:
    """Print what happened to the runs and how they came out; whether nothing was lost, repeated or changed."""
    rows = []
    for event in storm.events:
        run, history = event.run, status(event.run, "history")
        ended = f"{status(run, 'state')} at attempt {len(history)}"
        rows.append([event.what, run.signature, f"epoch {event.epochs}", event.then, ended])
    print_table("disturbances", ("what", "run", "when", "then", "in the end"), rows)
    runs = storm.runs()
    twins = [RunFolder(path.parent) for path in sorted(local.glob("*/summary.json"))]
    epochs = len(twins[0].metrics())
    done = [run for run in runs if run.state() == "done"]
    once = [run for run in done if done_once(run, epochs)]
    equal = [run for run in done if not differences(run, RunFolder(local / run.signature))]
    hit = [event for event in storm.events if not event.then.startswith("done")]
    print(*(line for line in storm.printed.splitlines() if line.startswith("submitted")), sep="\n")
    print(f"disturbed: {len(hit)} of {len(storm.events)}; exit status of the second submission: {exit_status}")
    print(
        f"done: {len(done)} of {len(twins)}; each once: {len(once)}; equal to the local runs, bit for bit: {len(equal)}"
    )
    print(f"on the cluster: {took:.0f} s")
    wanted = len(twins) == len(runs)
    return wanted and exit_status == 0 and len(done) == len(once) == len(equal) == len(twins) and len(hit) == len(rows)


if __name__ == "__main__":
    main()
