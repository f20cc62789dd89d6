"""What would run, and what it would cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        key = (config.runs_dir, _shape(asdict(config)))
        if key not in paces:
            paces[key] = _pace(*key)
        seconds = paces[key] * prediction["train_flops_simulated"] if paces[key] else None
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


def _shape(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides how fast a FLOP is."""
    model = config["model"]
    return model["name"], model["width"], config["dataset"]["name"], config["optim"]["batch_size"]


def _pace(runs_dir: str, shape: tuple[Any, ...]) -> float | None:
    """Seconds per simulated FLOP of finished runs of a shape, or None where there is none."""
    paces = []
    for path in Path(runs_dir).glob("*/summary.json"):
        folder = RunFolder(path.parent)
        try:
            summary = folder.summary() or {}
            if _shape(folder.config() or {}) == shape:
                paces.append(summary["train_time_s"] / summary["train_flops_simulated"])
        except (UserError, KeyError, TypeError):  # a foreign folder tells nothing
            continue
    return sorted(paces)[len(paces) // 2] if paces else None
