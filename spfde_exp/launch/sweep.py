"""A sweep, from composed jobs to the closing table; a launcher decides where the runs are trained."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Protocol

from spfde_exp.claim import Taken
from spfde_exp.config import signature
from spfde_exp.errors import UserError
from spfde_exp.launch.record import SweepRecord
from spfde_exp.launch.table import closing_row, print_table
from spfde_exp.schema import Config
from spfde_exp.store import CANCEL, RunFolder, objective, writable_dir

log = logging.getLogger(__name__)

# what does not tell one run of a sweep from another
SILENT = ("+sweep=", "runs_dir=", "logger", "hydra", "dry_run=", "force=", "device=", "threads=")

Job = tuple[list[str], Config]
Outcome = float | Exception | None


class RunFailed(Exception):
    """A run of the sweep is not done, and why."""


class SweepFailed(UserError):
    """Some runs of a sweep are not done; the others are."""


@dataclass(frozen=True)
class Run:
    """One run of a sweep: its folder, what the user asked for, and its resolved configuration."""

    folder: RunFolder
    overrides: list[str]
    config: Config

    @property
    def name(self) -> str:
        """Its signature."""
        return self.folder.signature

    @property
    def label(self) -> str:
        """What tells it from others."""
        return " ".join(o for o in self.overrides if not o.startswith(SILENT)) or "defaults"


@dataclass(frozen=True)
class Sweep:
    """What a launcher is given.

    Attributes:
        runs: all runs, done ones too.
        todo: those to train, longest first; their configurations are written down.
        expected_s: seconds that a run will take, by signature, where past runs tell.
        record: the sweep's record.
    """

    runs: tuple[Run, ...]
    todo: tuple[Run, ...]
    expected_s: Mapping[str, float]
    record: SweepRecord


class Launcher(Protocol):
    """Where runs are trained."""

    @property
    def name(self) -> str: ...

    def prepare(self, runs: Sequence[Run]) -> None:
        """Refuse what is impossible, before anything is written. Raises UserError."""

    def launch(self, sweep: Sweep) -> dict[str, Outcome]:
        """Train `sweep.todo`.

        Returns:
            By signature the accuracy in percent, or what went wrong; None for a run that was only submitted.
        """


def run_sweep(jobs: Sequence[Job], launcher: Launcher) -> list[Outcome]:
    """Train what is not done yet, each run once, and print the closing table.

    Args:
        jobs: overrides and resolved configuration of each job; jobs may share a run.

    Returns:
        For each job its accuracy in percent, or what went wrong; None after a dry run, and for a run that was
        only submitted.

    Raises:
        UserError: bad input in any job, before anything is written.
    """
    runs: dict[str, Run] = {}
    for overrides, config in jobs:
        run = Run(RunFolder.of(config), overrides, config)
        runs.setdefault(run.name, run)
    if not runs:
        return []
    if jobs[0][1].dry_run:
        show_plan(list(runs.values()))
        return [None] * len(jobs)
    outcomes: dict[str, Outcome] = {}
    outcomes |= {run.name: accuracy for run in runs.values() if (accuracy := _finished(run)) is not None}
    todo = [run for run in runs.values() if run.name not in outcomes]
    log.info("%d runs: %d done, %d to train", len(runs), len(outcomes), len(todo))
    if todo:
        launcher.prepare(todo)
        outcomes |= launcher.launch(_submit(list(runs.values()), _longest_first(todo), launcher.name))
    columns = ("run", "settings", "state", "accuracy", "FLOPs", "saved", "memory", "time")
    rows = [closing_row(run.folder, run.label, outcomes[run.name]) for run in runs.values()]
    states = [run.folder.state() for run in runs.values()]
    print_table(f"{states.count('done')} of {len(runs)} runs done", columns, rows)
    return [outcomes[signature(config)] for _, config in jobs]


def show_plan(runs: Sequence[Run]) -> None:
    """Print what would run; start and write nothing."""
    from spfde_exp.launch.dryrun import dry_run

    dry_run([(run.label, run.folder, run.config) for run in runs], runs[0].config.dry_run == "json")


def raise_if_failed(outcomes: Sequence[Outcome]) -> None:
    """Raise `SweepFailed` if any outcome is an exception, naming each reason once."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failed:
        reasons = "; ".join(dict.fromkeys(str(error) for error in failed))
        raise SweepFailed(
            f"{len(failed)} of {len(outcomes)} runs failed ({reasons}); the same command tries them again"
        )


def _finished(run: Run) -> float | None:
    run.folder.config()  # a folder of a newer version is refused
    summary = run.folder.summary()
    return None if summary is None or run.config.force else objective(summary)


def _longest_first(todo: Sequence[Run]) -> tuple[list[Run], dict[str, float]]:
    """Plan every run and find its data, so that bad input stops a sweep before it starts."""
    from spfde_exp.plan import make_plan
    from spfde_exp.run import load_data

    flops = {run.name: make_plan(run.config).prediction()["train_flops_simulated"] for run in todo}
    for config in {astuple(run.config.dataset): run.config for run in todo}.values():
        load_data(config)
    for runs_dir in {run.config.runs_dir for run in todo}:
        writable_dir(Path(runs_dir))
    return sorted(todo, key=lambda run: -flops[run.name]), {}


def _submit(runs: Sequence[Run], order: tuple[Sequence[Run], Mapping[str, float]], launcher: str) -> Sweep:
    """Write down what will be trained: later edits of conf/ or of the command change nothing."""
    todo, expected_s = order
    record = SweepRecord.write(Path(todo[0].config.runs_dir), launcher, {run.name: run.label for run in todo})
    for run in todo:
        with suppress(Taken), run.folder.locked():  # it is trained as planned by somebody else
            run.folder.bury()
            run.folder.file(CANCEL).unlink(missing_ok=True)
            run.folder.write_config(asdict(run.config))
            run.folder.set_status("pending", error=None, failure=None, sweep=record.id, slurm_job=None)
    return Sweep(tuple(runs), tuple(todo), expected_s, record)
