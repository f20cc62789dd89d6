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
from spfde_exp.files import writable_dir
from spfde_exp.jobs import Unavailable, settings
from spfde_exp.launch.record import SweepRecord
from spfde_exp.launch.slots import Slot
from spfde_exp.launch.table import closing_row, print_table
from spfde_exp.schema import Config
from spfde_exp.store import CANCEL, RunFolder, objective

log = logging.getLogger(__name__)

Job = tuple[list[str], Config | Unavailable]
Outcome = float | Exception | None


class RunFailed(Exception):
    """A run of the sweep is not done, and why."""


class NotAvailable(RunFailed):
    """A cell of a sweep file that this version cannot train."""


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
        return " ".join(settings(self.overrides)) or "defaults"


@dataclass(frozen=True)
class Sweep:
    """What a launcher is given.

    Attributes:
        runs: all runs, done ones too.
        todo: those to train, longest first; their configurations are written down.
        slots: where they are to be trained, as the launcher says.
        expected_s: seconds that a run will take, by signature, where past runs tell.
        record: the sweep's record.
    """

    runs: tuple[Run, ...]
    todo: tuple[Run, ...]
    slots: tuple[Slot, ...]
    expected_s: Mapping[str, float]
    record: SweepRecord


class Launcher(Protocol):
    """Where runs are trained."""

    @property
    def name(self) -> str: ...

    def slots(self, configs: Sequence[Config]) -> Sequence[Slot]:
        """Where runs would be trained; empty where that is not known here. Raises UserError for what is impossible."""

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
    known = [(overrides, config) for overrides, config in jobs if not isinstance(config, Unavailable)]
    if any(_dry(overrides, config) for overrides, config in jobs):
        show_plan(jobs, launcher)
        return [None] * len(jobs)
    runs: dict[str, Run] = {}
    for overrides, config in known:
        run = Run(RunFolder.of(config), overrides, config)
        runs.setdefault(run.name, run)
    outcomes: dict[str, Outcome] = {}
    outcomes |= {run.name: accuracy for run in runs.values() if (accuracy := _finished(run)) is not None}
    todo = [run for run in runs.values() if run.name not in outcomes]
    slots = tuple(launcher.slots([run.config for run in todo])) if todo else ()
    order, expected_s = _plan(todo, slots) if todo else ([], {})
    log.info("%s", _begin(jobs, len(runs), len(outcomes)))
    if todo:
        record = _submit(order, launcher.name)
        sweep = Sweep(tuple(runs.values()), tuple(order), slots, expected_s, record)
        try:
            outcomes |= launcher.launch(sweep)
        finally:
            sweep.record.close()
    if runs:
        _show_end(list(runs.values()), outcomes)
    return [_outcome(config, outcomes) for _, config in jobs]


def show_plan(jobs: Sequence[Job], launcher: Launcher | None = None) -> None:
    """Print what would run; start nothing."""
    from spfde_exp.launch.dryrun import dry_run

    as_json = any(_dry(overrides, config) == "json" for overrides, config in jobs)
    dry_run(jobs, as_json, launcher.slots if launcher else None)


def _dry(overrides: Sequence[str], config: Config | Unavailable) -> bool | str:
    """What a job says of `dry_run`; one that has no configuration says it in its overrides."""
    if not isinstance(config, Unavailable):
        return bool(config.dry_run) and str(config.dry_run)
    said = [text.partition("=")[2] for text in overrides if text.startswith("dry_run=")]
    return said[-1] if said and said[-1].lower() not in ("false", "no", "off", "0") else False


def _begin(jobs: Sequence[Job], runs: int, done: int) -> str:
    absent = [" ".join(config.missing) for _, config in jobs if isinstance(config, Unavailable)]
    more = f", {len(absent)} not available ({', '.join(dict.fromkeys(absent))})" if absent else ""
    return f"{runs} run{'s' * (runs != 1)}: {done} done, {runs - done} to train{more}"


def _show_end(runs: Sequence[Run], outcomes: Mapping[str, Outcome]) -> None:
    columns = ("run", "settings", "state", "accuracy", "FLOPs", "saved", "average memory", "time")
    rows = [closing_row(run.folder, run.label, outcomes[run.name]) for run in runs]
    states = [run.folder.state() for run in runs]
    print_table(f"{states.count('done')} of {len(runs)} runs done", columns, rows)


def _outcome(config: Config | Unavailable, outcomes: Mapping[str, Outcome]) -> Outcome:
    if isinstance(config, Unavailable):
        return NotAvailable(" ".join(config.missing))
    return outcomes[signature(config)]


def raise_if_failed(outcomes: Sequence[Outcome]) -> None:
    """Raise `SweepFailed` if any outcome is an exception, naming each reason once."""
    absent = [outcome for outcome in outcomes if isinstance(outcome, NotAvailable)]
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception) and outcome not in absent]
    told = []
    if failed:
        reasons = "; ".join(dict.fromkeys(str(error) for error in failed))
        told.append(f"{len(failed)} of {len(outcomes)} runs failed ({reasons}); the same command tries them again")
    if absent:
        names = ", ".join(dict.fromkeys(str(error) for error in absent))
        are = "is" if len(absent) == 1 else "are"
        told.append(f"{len(absent)} of {len(outcomes)} runs {are} not available in this version ({names})")
    if told:
        raise SweepFailed("; ".join(told))


def _finished(run: Run) -> float | None:
    run.folder.config()  # a folder of a newer version is refused
    summary = run.folder.summary()
    return None if summary is None or run.config.force else objective(summary)


def _plan(todo: Sequence[Run], slots: Sequence[Slot]) -> tuple[list[Run], dict[str, float]]:
    """The runs, longest first, and the seconds that they will take where that is known.

    Every run is planned and its data found, so that bad input stops a sweep before it starts.
    """
    from spfde_exp.launch.estimate import longest_first
    from spfde_exp.run import load_data

    order, seconds = longest_first([run.config for run in todo], slots[0] if slots else None)
    for config in {astuple(run.config.dataset): run.config for run in todo}.values():
        load_data(config)
    for runs_dir in {run.config.runs_dir for run in todo}:
        writable_dir(Path(runs_dir))
    expected_s = {run.name: known for run, known in zip(todo, seconds, strict=True) if known is not None}
    return [todo[index] for index in order], expected_s


def _submit(todo: Sequence[Run], launcher: str) -> SweepRecord:
    """Write down what will be trained: later edits of conf/ or of the command change nothing."""
    record = SweepRecord.write(Path(todo[0].config.runs_dir), launcher, {run.name: run.label for run in todo})
    for run in todo:
        if run.folder.slurm_job() is not None or _finished(run) is not None:
            continue  # it waits in Slurm's queue as it was planned, or was done just now
        with suppress(Taken), run.folder.locked():  # it is trained as planned by somebody else
            run.folder.bury()
            run.folder.file(CANCEL).unlink(missing_ok=True)
            run.folder.write_config(asdict(run.config))
            run.folder.set_status("pending", error=None, failure=None, sweep=record.id, slurm_job=None)
    return record
