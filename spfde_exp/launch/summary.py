"""A dry run of many runs, summed up: per sweep file, and per value of each setting that varies."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from spfde_exp.config import flatten, known_keys
from spfde_exp.launch.forecast import STATES, Forecast
from spfde_exp.launch.sweepfile import as_word, sweep_names
from spfde_exp.launch.table import duration, size

MOST_VALUES = 12  # of a setting that are listed one by one
MOST_CELLS = 30  # of a sweep file
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
    """FLOPs of all runs, the largest peak memory, and the training time of what is left to train."""
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
    yield from _cells(runs)
    settings = _mappings(runs)
    for key in dict.fromkeys(text.partition("=")[0] for run in runs for text in run.settings):
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


def _cells(runs: Sequence[Forecast]) -> Iterator[tuple[str, list[Forecast]]]:
    """A row for each cell of the one sweep file, with what tells it from the others."""
    cells: dict[int, list[Forecast]] = {}
    for run in runs:
        if run.number is not None:
            cells.setdefault(run.number, []).append(run)
    if 1 < len(cells) <= MOST_CELLS:
        words = {number: [w for w in cells[number][0].settings if not w.startswith("seed=")] for number in cells}
        shared = set.intersection(*map(set, words.values()))
        for number in sorted(cells):
            yield f"cell {number}: {' '.join(w for w in words[number] if w not in shared)}", cells[number]


def _mappings(runs: Sequence[Forecast]) -> list[dict[str, str]]:
    """Settings of each run; a key of the configuration that only other runs name has its value there."""
    told = [dict(text.partition("=")[::2] for text in run.settings) for run in runs]
    leaves = {key for mapping in told for key in mapping} & set(known_keys())
    answer = []
    for run, mapping in zip(runs, told, strict=True):
        config = flatten(asdict(run.config)) if run.config else {}
        answer.append({key: as_word(config[key]) for key in leaves if key in config} | mapping)
    return answer
