"""What would run, and what it would cost."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spfde_exp.errors import UserError
from spfde_exp.launch.table import dry_row, print_table
from spfde_exp.schema import Config
from spfde_exp.store import RunFolder

if TYPE_CHECKING:  # launching loads torch only when it has to plan
    from spfde_exp.plan import RunPlan


def dry_run(jobs: Sequence[tuple[str, RunFolder, Config]], as_json: bool) -> None:
    """Print each run's state, plan, FLOPs, memory and estimated time; start and write nothing.

    Args:
        jobs: label, folder and resolved configuration of each run.
        as_json: one JSON object per run instead of a table, with the keys of plan.json's prediction.
    """
    from spfde_exp.plan import make_plan

    rows, total, paces = [], 0.0, {}
    for label, folder, config in jobs:
        plan = make_plan(config)
        prediction = plan.prediction()
        shape = (config.runs_dir, config.model.name, config.model.width, config.dataset.name, config.optim.batch_size)
        if shape not in paces:
            paces[shape] = _pace(config)
        seconds = paces[shape] * prediction["train_flops_simulated"] if paces[shape] else None
        total += prediction["train_flops"]
        if as_json:
            answer = {"signature": folder.signature, "state": folder.state(), "overrides": label.split(), **prediction}
            print(json.dumps(answer | {"estimated_time_s": seconds, "frozen_blocks": list(plan.freeze.frozen)}))
        rows.append(dry_row(folder, label, prediction, _freeze_text(plan), seconds))
    if not as_json:
        columns = ("run", "settings", "state", "freezes", "FLOPs (paper)", "FLOPs", "saved", "memory", "time")
        print_table(f"{len(rows)} runs, {total:.3g} FLOPs; nothing was started", columns, rows)


def _freeze_text(plan: "RunPlan") -> str:
    depth = max(plan.freeze.frozen)
    if not depth:
        return "nothing"
    first = next(epoch for epoch, frozen in enumerate(plan.freeze.frozen) if frozen)
    return f"{depth}/{len(plan.freeze.blocks)} blocks from {first}"


def _pace(config: Config) -> float | None:
    """Seconds per simulated FLOP of finished runs of the same shape, or None where there is none."""
    paces = []
    for path in Path(config.runs_dir).glob("*/summary.json"):
        folder = RunFolder(path.parent)
        try:
            summary, past = folder.summary() or {}, folder.config() or {}
            shape = (
                past["model"]["name"],
                past["model"]["width"],
                past["dataset"]["name"],
                past["optim"]["batch_size"],
            )
            pace = summary["train_time_s"] / summary["train_flops_simulated"]
        except (UserError, KeyError, TypeError):  # a foreign folder tells nothing
            continue
        if shape == (config.model.name, config.model.width, config.dataset.name, config.optim.batch_size):
            paces.append(pace)
    return sorted(paces)[len(paces) // 2] if paces else None
