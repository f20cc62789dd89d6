"""What would run, and what it would cost: `dry_run=true` and `dry_run=json`."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from spfde_exp.launch.forecast import NOT_AVAILABLE, STATES, FindSlots, Forecast, Job, Outlook, outlook
from spfde_exp.launch.slots import Slot, find_slots
from spfde_exp.launch.summary import cost_cells, summary
from spfde_exp.launch.sweepfile import sweep_names
from spfde_exp.launch.table import duration, print_table, size
from spfde_exp.schema import Config

MOST_ROWS = 40  # more runs are summed up
COLUMNS = ("run", "settings", "state", "freezes", "FLOPs (paper)", "FLOPs", "saved", "average memory", "time")


def dry_run(jobs: Iterable[Job], as_json: bool, slots: FindSlots | None = None) -> None:
    """Print each run's state, plan, FLOPs, memory and estimated time, and the totals; train nothing.

    Args:
        jobs: overrides of each job, and its configuration or what it lacks; jobs may share a run.
        as_json: one JSON object per run instead of tables, with the keys of plan.json's prediction.
        slots: what the launcher would use for some runs, empty where that is not known here; without, one slot of
            this machine.

    Raises:
        UserError: a run that cannot be planned.
    """
    sweep = outlook(jobs, slots or _one_slot)
    if as_json:
        for run in sweep.runs:
            print(json.dumps(_json(run)))
        return
    title = f"{_count(len(sweep.runs), 'run')}: {_counts(sweep.runs)}"
    if len(sweep.runs) <= MOST_ROWS:
        columns, rows = list(COLUMNS), [_row(run) for run in sweep.runs]
        if any(run.number is not None for run in sweep.runs):
            columns.insert(1, "cell")
            rows = [[row[0], str(run.number or ""), *row[1:]] for run, row in zip(sweep.runs, rows, strict=True)]
        print_table(title, columns, rows, words=columns.index("state") + 1)
    else:
        print_table(title, *summary(sweep.runs))
    runs = sweep.runs
    lines = (_sharing(runs), _missing(runs), _total(sweep), _bounds(runs), _plans_only(runs), "nothing was started")
    for line in lines:
        if line:
            print(line)


def _counts(runs: Sequence[Forecast]) -> str:
    """How many are in which state, such as ``4 new, 2 done``."""
    found = Counter(run.state for run in runs)
    return ", ".join(f"{found[state]} {state}" for state in STATES if found[state])


def _one_slot(configs: Sequence[Config]) -> list[Slot]:
    return find_slots(configs[0].device, "auto", 1)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _json(run: Forecast) -> dict[str, object]:
    answer: dict[str, object] = {"signature": run.signature, "state": run.state, "overrides": run.settings}
    answer["sweeps"] = sorted(run.sweeps)
    if run.number is not None:
        answer["cell"] = run.number
    if run.plan is None:
        return answer | {"missing": list(run.missing)}
    frozen = list(run.plan.freeze.frozen)
    left = {"epochs_done": run.epoch, "train_flops_left": flops_left(run), "estimated_time_s": run.seconds}
    return answer | run.cost | left | {"frozen_blocks": frozen}


def _row(run: Forecast) -> list[str]:
    label = " ".join(run.settings) or "defaults"
    if run.plan is None:
        return ["", label, f"{run.state}: {' '.join(run.missing)}", "", "", "", "", "", ""]
    cost = run.cost
    return [
        run.signature or "",
        label,
        f"{run.state} at {run.epoch}/{run.plan.epochs}" if run.epoch else run.state,
        run.plan.freeze.summary(),
        f"{cost['train_flops_paper']:.3g}",
        f"{cost['train_flops']:.3g}",
        f"{100 * cost['flops_reduction_total']:.1f} %",
        size(cost["memory_avg_bytes"]),
        duration(run.seconds) if run.seconds is not None else "unknown" if run.to_train else "",
    ]


def _sharing(runs: Sequence[Forecast]) -> str:
    """Cells of each sweep file, and how many belong to several."""
    cells: dict[str, set[str]] = {}
    for run in runs:
        cells.setdefault(run.cell, set()).update(run.sweeps)
    files = Counter(name for names in cells.values() for name in names)
    if not files:
        return ""
    first, *rest = [name for name in sweep_names() if name in files]
    text = ", ".join([f"{first} {_count(files[first], 'cell')}", *(f"{name} {files[name]}" for name in rest)])
    if not rest:
        return text
    shared = sum(len(names) > 1 for names in cells.values())
    return f"{text}: {_count(len(cells), 'cell')}, {shared} of them in several sweeps and counted once"


def _missing(runs: Sequence[Forecast]) -> str:
    """What is not available, and in how many cells."""
    cells = {run.cell: run.missing for run in runs if run.state == NOT_AVAILABLE}
    found = Counter(name for names in cells.values() for name in names).most_common()
    texts = [f"{name} ({_count(number, 'cell')})" for name, number in found]
    return f"not available: {', '.join(texts)}" if texts else ""


def _plans_only(runs: Sequence[Forecast]) -> str:
    """The sweep files that ask for runs which are not trained."""
    found = {name for run in runs if run.plans_only for name in run.sweeps}
    names = [name for name in sweep_names() if name in found]
    if not names:
        return ""
    verb, thing = ("needs", "it") if len(names) == 1 else ("need", "them")
    return f"{', '.join(names)} {verb} plans only: nothing is trained for {thing}"


def _bounds(runs: Sequence[Forecast]) -> str:
    """Whose costs are no more than bounds, or estimates."""
    unknown = [set(run.cost.get("unknown", ())) for run in runs]
    bounds = sum("flops_reduction_total" in keys for keys in unknown)
    estimates = sum("train_flops" in keys and "flops_reduction_total" not in keys for keys in unknown)
    lines = []
    if bounds:
        told = "will tell only in training what is saved: FLOPs, memory and time are upper bounds"
        lines.append(f"{_count(bounds, 'run')} {told}")
    if estimates:
        why = "its method takes dense gradients, or shares out the weights among the layers itself"
        lines.append(f"{_count(estimates, 'run')}: FLOPs are estimates, as {why}")
    return "\n".join(lines)


def _total(sweep: Outlook) -> str:
    """What is left to train, and how long it takes; what all runs cost, where some are done."""
    planned = [run for run in sweep.runs if run.plan is not None]
    left = [run for run in planned if run.to_train]
    if not planned:
        return ""
    every = f"all {_count(len(planned), 'run')}: {_cost(planned)}"
    if not left:
        return f"nothing to train; {every}"
    text = f"to train: {_count(len(left), 'run')}, {_cost(left, left=True)}, training time {cost_cells(left)[-1]}"
    text += _sources(left)
    if sweep.levels:
        text += (
            f"; before them {_count(len(sweep.levels), 'level')} of lottery tickets, {_cost(sweep.levels, left=True)}"
        )
    if (seconds := sweep.seconds()) is not None:
        packed = " if packing cost nothing" if sweep.slots[0].packed > 1 else ""
        text += f"; {duration(seconds)} on {_count(len(sweep.slots), 'slot')}, longest first{packed}"
    return text if len(left) == len(planned) else f"{text}\n{every}"


def _sources(runs: Sequence[Forecast]) -> str:
    """Where times come from."""
    tried = {run.pace.tried for run in runs if run.pace is not None}
    words = [text for flag, text in ((False, "past runs"), (True, "a short trial")) if flag in tried]
    return f" (times from {' and '.join(words)})" if words else ""


def flops_left(run: Forecast) -> int:
    """FLOPs that training it would take from now on."""
    return run.plan.train_flops(run.epoch) if run.plan and run.to_train else 0


def _cost(runs: Sequence[Forecast], left: bool = False) -> str:
    flops = sum(flops_left(run) if left else run.cost["train_flops"] for run in runs)
    what = "FLOPs left" if left and any(run.epoch for run in runs) else "FLOPs"
    return f"{flops:.4g} {what}, peak memory {size(max(run.cost['memory_peak_predicted_bytes'] for run in runs))}"
