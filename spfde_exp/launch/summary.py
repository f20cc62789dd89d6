"""A dry run of many runs, summed up: per sweep file, and per value of each setting that varies."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from spfde_exp.launch.forecast import STATES, Forecast
from spfde_exp.launch.sweepfile import sweep_names
from spfde_exp.launch.table import duration, size

MOST_VALUES = 12  # of a setting that are listed one by one
UNSET = "(default)"


def summary(runs: Sequence[Forecast]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table: counts by state, FLOPs, memory and time."""
    states = [state for state in STATES if any(run.state == state for run in runs)]
    rows = []
    for name, members in _groups(runs):
        found = Counter(run.state for run in members)
        rows.append([name, str(len(members)), *(str(found[state] or "") for state in states), *cost_cells(members)])
    return ["of these", "runs", *states, "FLOPs", "peak memory", "time to train"], rows


def cost_cells(runs: Sequence[Forecast]) -> list[str]:
    """FLOPs of all runs, the largest peak memory, and the training time of those that are to be trained."""
    planned = [run.cost for run in runs if run.plan is not None]
    if not planned:
        return ["", "", ""]
    times = [run.seconds for run in runs if run.to_train]
    known = [seconds for seconds in times if seconds is not None]
    text = duration(sum(known)) if known or not times else "unknown"
    if 0 < len(known) < len(times):
        text = f"{text}, of {len(times) - len(known)} unknown"
    flops = sum(cost["train_flops"] for cost in planned)
    return [f"{flops:.4g}", size(max(cost["memory_peak_predicted_bytes"] for cost in planned)), text]


def _groups(runs: Sequence[Forecast]) -> Iterator[tuple[str, list[Forecast]]]:
    named = {name for run in runs for name in run.sweeps}
    for sweep in (name for name in sweep_names() if name in named):
        yield f"sweep {sweep}", [run for run in runs if sweep in run.sweeps]
    settings = [_mapping(run) for run in runs]
    for key in dict.fromkeys(key for mapping in settings for key in mapping):
        values = sorted({mapping.get(key, UNSET) for mapping in settings}, key=_rank)
        if len(values) > MOST_VALUES:
            yield f"{key}: {len(values)} values", list(runs)
        elif len(values) > 1:
            for value in values:
                members = [run for run, own in zip(runs, settings, strict=True) if own.get(key, UNSET) == value]
                yield f"{key}={value}", members
    yield "all", list(runs)


def _rank(value: str) -> tuple[float, str]:
    """Numbers by their size, after words."""
    try:
        return float(value), ""
    except ValueError:
        return -math.inf, value


def _mapping(run: Forecast) -> dict[str, str]:
    pairs = (text.partition("=") for text in run.settings)
    return {key: value for key, _, value in pairs}
