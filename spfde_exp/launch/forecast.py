"""The runs that a sweep asks for, each once: what state they are in, what they will cost, and how long they take."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from spfde_exp.config import signature
from spfde_exp.jobs import Unavailable, settings, sweep_files
from spfde_exp.launch.board import sweep_left
from spfde_exp.launch.estimate import Pace, epochs_done, expected_paces
from spfde_exp.launch.slots import Slot
from spfde_exp.launch.sweepfile import cell_number, load_sweep, sweep_names
from spfde_exp.lineage import lineage
from spfde_exp.schema import Config
from spfde_exp.store import RunFolder

if TYPE_CHECKING:  # launching loads torch only when it has to plan
    from spfde_exp.plan import RunPlan

NOT_AVAILABLE = "not available"
STATES = ("new", "pending", "running", "stale", "failed", "done", NOT_AVAILABLE)

Job = tuple[list[str], Config | Unavailable]
FindSlots = Callable[[Sequence[Config]], Sequence[Slot]]


@dataclass
class Forecast:
    """One run to come, or one that this version cannot run.

    Attributes:
        cell: what it is but for its seed.
        settings: what the user asked for.
        state: of the run folder, or "not available".
        sweeps: sweep files that ask for it.
        config, plan, signature: None where it is not available.
        missing: what is not available.
        number: of its cell in the command's one sweep file, as `+cell=` takes it; None with several files, or none.
        plans_only: only sweep files ask for it that need no training.
        epoch: finished epochs, where it has not ended.
        pace: how fast it trains; None where nothing tells.
    """

    cell: str
    settings: list[str]
    state: str
    config: Config | None = None
    plan: "RunPlan | None" = None
    signature: str | None = None
    missing: tuple[str, ...] = ()
    sweeps: set[str] = field(default_factory=set)
    number: int | None = None
    plans_only: bool = False
    epoch: int = 0
    pace: Pace | None = None

    @property
    def cost(self) -> dict[str, Any]:
        """The plan's prediction; empty where it is not available."""
        return self.plan.prediction() if self.plan else {}

    @property
    def seconds(self) -> float | None:
        """Expected time of the epochs that are left, of all where it is done; None where nothing tells."""
        return self.pace.seconds * self.plan.simulated_flops(self.epoch) if self.pace and self.plan else None

    @property
    def to_train(self) -> bool:
        """Whether the sweep would train it."""
        return self.config is not None and (self.state != "done" or self.config.force) and not self.plans_only


@dataclass(frozen=True)
class Outlook:
    """A sweep to come.

    Attributes:
        runs: what was asked for.
        slots: what those to train would use; none where that is not known.
        levels: further runs, not done yet, that some of them train first (`spfde_exp.lineage`), each once.
    """

    runs: tuple[Forecast, ...]
    slots: tuple[Slot, ...]
    levels: tuple[Forecast, ...] = ()

    def seconds(self) -> float | None:
        """How long the sweep takes, longest run first; None where that is not known."""
        known = [run.seconds for run in (*self.runs, *self.levels) if run.to_train]
        if not self.slots:
            return None
        return sweep_left([], sorted(known, key=lambda seconds: -(seconds or 0.0)), len(self.slots))


def outlook(jobs: Iterable[Job], find_slots: FindSlots) -> Outlook:
    """Look at every run that `jobs` ask for, each once; start and write nothing but the cache of trials.

    Args:
        jobs: overrides of each job, and its configuration.
        find_slots: the slots that runs to train would use; none where that is not known here.

    Raises:
        UserError: a run that cannot be planned.
    """
    runs: dict[str, Forecast] = {}
    jobs = list(jobs)
    asked, there = {name for overrides, _ in jobs for name in sweep_files(overrides)}, sweep_names()
    files = {name: load_sweep(name) for name in asked if name in there}
    only = next(iter(files.values())) if len(asked) == len(files) == 1 else None
    numbers: dict[frozenset[str], int | None] = {}  # runs that differ in the seed share a cell
    for overrides, config in jobs:
        told = settings(overrides)
        if isinstance(config, Unavailable):
            words = sorted(word for word in told if not word.startswith("seed="))
            name, cell = " ".join(sorted(told)), " ".join(words)
            run = runs.setdefault(name, Forecast(cell, told, NOT_AVAILABLE, missing=config.missing))
        else:
            name = signature(config)
            run = runs.get(name) or _planned(name, told, config)
            runs[name] = run
        run.sweeps |= set(sweep_files(overrides))
        if only is not None and run.number is None:
            key = frozenset(word for word in told if not word.startswith("seed="))
            if key not in numbers:
                numbers[key] = cell_number(only, key)
            run.number = numbers[key]
    for run in runs.values():
        run.plans_only = bool(run.sweeps) and all(name in files and files[name].needs == "plans" for name in run.sweeps)
    levels = _levels(runs)
    planned = [(run, run.config) for run in (*runs.values(), *levels) if run.config is not None]
    todo = [config for run, config in planned if run.to_train]
    slots = tuple(find_slots(todo)) if todo else ()
    paces = expected_paces([config for _, config in planned], slots[0] if slots else None, trials=bool(todo))
    for (run, _), pace in zip(planned, paces, strict=True):
        run.pace = pace
    return Outlook(tuple(runs.values()), slots, levels)


def _levels(runs: Mapping[str, Forecast]) -> tuple[Forecast, ...]:
    found: dict[str, Forecast] = {}
    for run in runs.values():
        for earlier in lineage(run.config) if run.config is not None and run.to_train else ():
            name = signature(earlier)
            if name not in runs and name not in found:
                found[name] = _planned(name, [], earlier)
    return tuple(run for run in found.values() if run.to_train)


def _planned(name: str, told: list[str], config: Config) -> Forecast:
    from spfde_exp.plan import make_plan

    cell = signature(replace(config, seed=0))
    state, epoch = RunFolder.of(config).state(), epochs_done(config)
    return Forecast(cell, told, state, config, make_plan(config), name, epoch=epoch)
