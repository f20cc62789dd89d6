"""Paired timing, as `analysis.paired` has it, and how benchmarks print it."""

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.paired import MIN_TURNS, Ratio, Turns, median, ratio, take_turns

__all__ = [
    "MIN_TURNS", "Ratio", "Turns", "at_least", "clocks", "interval", "median", "print_table", "ratio",
    "take_shuffled", "take_turns", "verdict",
]  # fmt: skip


def take_shuffled(variants: Mapping[str, Callable[[], Any]], turns: int, warmup: int = 1) -> Turns:
    """As `take_turns`, each turn in another order, so that a drift within long turns favours no variant.

    Ctrl-C ends it early with the whole turns so far, if they are enough for an interval.
    """
    times = Turns({name: [] for name in variants}, {name: [] for name in variants})
    take_turns(variants, 0, warmup)
    for turn in range(turns):
        order = random.Random(turn).sample(list(variants), len(variants))
        try:
            one = take_turns({name: variants[name] for name in order}, 1, warmup=0)
        except KeyboardInterrupt:
            if turn < MIN_TURNS:
                raise
            print(f"stopped after {turn} of {turns} turns", file=sys.stderr)
            break
        for kept, new in zip(times, one, strict=True):
            for name, seconds in new.items():
                kept[name] += seconds
    return times


def clocks(times: Turns, device_type: str) -> dict[str, dict[str, list[float]]]:
    """Name of each clock that tells something on such a device, and its seconds."""
    return {"wall": times.wall, "CPU time": times.cpu} if device_type == "cpu" else {"wall": times.wall}


def interval(values: Sequence[float]) -> Ratio:
    """Median of figures, one from each turn, and its 95 % interval."""
    return ratio({"of": values, "to": [1.0] * len(values)}, "of", "to")


def verdict(figure: float, most: float) -> str:
    """Whether `figure` keeps to the target."""
    return f"<= {most:g}: {'met' if figure <= most else 'MISSED'}"


def at_least(figure: float, least: float) -> str:
    """Whether `figure` reaches the target."""
    return f">= {least:g}: {'met' if figure >= least else 'MISSED'}"


def print_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print `rows`, of which the first is the heading, in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    print(f"\n{title}")
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip(), flush=True)
