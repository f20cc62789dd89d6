"""A sweep, from composed jobs to the closing table. Slurm and packing enter beside `run_pool`."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, replace
from pathlib import Path

from spfde_exp.config import signature
from spfde_exp.errors import UserError
from spfde_exp.launch.slots import Slot, find_slots
from spfde_exp.launch.table import closing_row, print_table
from spfde_exp.schema import Config
from spfde_exp.store import RunFolder, objective, writable_dir

log = logging.getLogger(__name__)

# what does not tell one run of a sweep from another
SILENT = ("+sweep=", "runs_dir=", "logger", "hydra", "dry_run=", "force=", "device=", "threads=")

Job = tuple[list[str], Config]
Outcome = float | Exception | None


class SweepFailed(UserError):
    """Some runs of a sweep are not done; the others are."""


def run_sweep(
    jobs: Sequence[Job], slots: int | str = "auto", poll_s: float = 0.2, inline: bool = False
) -> list[Outcome]:
    """Train what is not done yet, each run once, and print the closing table.

    Args:
        jobs: overrides and resolved configuration of each job; jobs may share a run.
        slots: runs at once; "auto" takes one per GPU, else one per core.
        poll_s: seconds between two looks at the jobs.
        inline: one after another in this process instead.

    Returns:
        For each job its accuracy in percent, or what went wrong; None after a dry run.

    Raises:
        UserError: bad input in any job, before anything is written.
    """
    unique: dict[str, tuple[RunFolder, list[str], Config]] = {}
    for overrides, config in jobs:
        folder = RunFolder.of(config)
        unique.setdefault(folder.signature, (folder, overrides, config))
    if not unique:
        return []
    first = jobs[0][1]
    labels = {name: _label(overrides) for name, (_, overrides, _) in unique.items()}
    if first.dry_run:
        from spfde_exp.launch.dryrun import dry_run

        dry_run([(labels[n], folder, config) for n, (folder, _, config) in unique.items()], first.dry_run == "json")
        return [None] * len(jobs)
    outcomes: dict[str, float | Exception] = {}
    for name, (folder, _, config) in unique.items():
        folder.config()
        if (summary := folder.summary()) is not None and not config.force:
            outcomes[name] = objective(summary)
    todo = {name: entry for name, entry in unique.items() if name not in outcomes}
    if todo:
        _check(todo)
    log.info("%d runs: %d done, %d to train", len(unique), len(outcomes), len(todo))
    if todo and inline:
        _run_inline(todo, outcomes)
    elif todo:
        _run_local(todo, labels, outcomes, find_slots(first.device, slots, len(unique)), poll_s)
    columns = ("run", "settings", "state", "accuracy", "FLOPs", "saved", "memory", "time")
    rows = [closing_row(folder, labels[name], outcomes[name]) for name, (folder, _, _) in unique.items()]
    states = [folder.state() for folder, _, _ in unique.values()]
    print_table(f"{states.count('done')} of {len(unique)} runs done", columns, rows)
    return [outcomes[signature(config)] for _, config in jobs]


def raise_if_failed(outcomes: Sequence[Outcome]) -> None:
    """Raise `SweepFailed` if any outcome is an exception, naming each reason once."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failed:
        reasons = "; ".join(dict.fromkeys(str(error) for error in failed))
        raise SweepFailed(
            f"{len(failed)} of {len(outcomes)} runs failed ({reasons}); the same command tries them again"
        )


def _label(overrides: Sequence[str]) -> str:
    return " ".join(o for o in overrides if not o.startswith(SILENT)) or "defaults"


def _check(todo: dict[str, tuple[RunFolder, list[str], Config]]) -> None:
    """Plan every run and find its data, so that bad input stops a sweep before it starts."""
    from spfde_exp.plan import make_plan
    from spfde_exp.run import load_data
    from spfde_exp.train.device import choose_device

    sets = {}
    for _, _, config in todo.values():
        choose_device(config.device)
        make_plan(config)
        sets[astuple(config.dataset)] = config
    for config in sets.values():
        load_data(config)
    for runs_dir in {config.runs_dir for _, _, config in todo.values()}:
        writable_dir(Path(runs_dir))


def _run_inline(todo: dict[str, tuple[RunFolder, list[str], Config]], outcomes: dict[str, float | Exception]) -> None:
    from spfde_exp.run import train

    for name, (_, overrides, config) in todo.items():
        try:
            outcomes[name] = train(config, overrides)
        except Exception as error:  # a failed run does not stop the others
            outcomes[name] = error


def _run_local(
    todo: dict[str, tuple[RunFolder, list[str], Config]],
    labels: dict[str, str],
    outcomes: dict[str, float | Exception],
    slots: list[Slot],
    poll_s: float,
) -> None:
    from spfde_exp.launch.local import Task, run_pool

    configs = {name: config for name, (_, _, config) in todo.items()}

    def write(task: Task, slot: Slot) -> None:
        config = configs[task.folder.signature]
        threads = slot.threads if config.threads == "auto" else config.threads
        device = config.device if slot.gpu is None else "cuda"  # the job sees no other GPU
        with suppress(UserError), task.folder.locked():  # where it is taken, the job finds out and says so
            task.folder.write_config(asdict(replace(config, threads=threads, device=device)))
            task.folder.set_status("pending", error=None)

    def report(task: Task, outcome: float | Exception) -> None:
        outcomes[task.folder.signature] = outcome
        text = f"failed: {outcome}" if isinstance(outcome, Exception) else f"{outcome:.2f} %"
        log.info("[%d left] %s %s: %s", len(todo) - sum(n in outcomes for n in todo), task.folder.signature,
                 labels[task.folder.signature], text)  # fmt: skip

    tasks = [Task(folder, overrides) for folder, overrides, _ in todo.values()]
    run_pool(tasks, slots, write, report, poll_s)
