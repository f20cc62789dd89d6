"""Which runs' seconds can be compared: those that had a device to themselves, and all the same one."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from analysis.protocol import Spec

MACHINE = ("host", "device_name", "threads", "engine")


def comparable(
    used: pd.DataFrame, cells: Sequence[Spec], is_baseline: Callable[[Spec], bool], seeds: Sequence[int]
) -> tuple[pd.DataFrame, list[str]]:
    """The runs whose epoch times a table may compare, and what was left out.

    The device is the baseline's; with baselines on several, the one that most cells were run on.

    Args:
        used: finished runs.
        cells: of the table.
        is_baseline: which cell the others are compared with.
        seeds: of the runs that are shown.
    """
    mine = used[used["cell"].isin({cell.key for cell in cells})]
    alone = mine[mine["runs_per_device"].isna() | (mine["runs_per_device"] == 1)]
    notes = []
    if packed := len(mine) - len(alone):
        notes.append(f"left out: {_runs(packed)} that shared the device with others, so that times mean little")
    baselines = {cell.key for cell in cells if is_baseline(cell)}
    devices = alone.assign(machine=list(alone[list(MACHINE)].fillna("").itertuples(index=False, name=None)))
    there = set(devices.loc[devices["cell"].isin(baselines), "machine"])
    counts = devices[devices["machine"].isin(there)].groupby("machine")["cell"].nunique()
    if counts.empty:
        return alone.iloc[:0], notes
    chosen = counts.sort_values(kind="stable").index[-1]
    kept = alone[[machine == chosen for machine in devices["machine"]]]
    if others := len(alone) - len(kept):
        named = " ".join(f"{key}={value}" for key, value in zip(MACHINE, chosen, strict=True))
        notes.append(f"left out: {_runs(others)} on other devices than {named}")
    if beside := sum(_beside(run, used) for _, run in kept[kept["seed"].isin(seeds)].iterrows()):
        notes.append(
            f"rough times: {_runs(beside)} trained while others used the same host; "
            "hydra.launcher.slots=1 force=true trains them again, one at a time"
        )
    return kept, notes


def _beside(run: "pd.Series[Any]", used: pd.DataFrame) -> bool:
    """Whether another run was trained on the same host and device at the same time."""
    same = used[(used["host"] == run["host"]) & (used["device_name"] == run["device_name"])]
    overlap = (same["started"] < run["finished"]) & (same["finished"] > run["started"])
    return bool((overlap & (same["signature"] != run["signature"])).any())


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"
