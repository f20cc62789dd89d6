"""Paired timing: variants take turns within one run, and only ratios within a turn are compared.

A machine that slows down, or shares its cores, slows all variants of a turn alike. The figure is the median
of the turns' ratios; its interval is that of order statistics (binomial), which supposes nothing about the
noise but that turns are independent.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

MIN_TURNS = 6  # fewer have no 95 % interval for a median


class Turns(NamedTuple):
    """Seconds of every variant, turn by turn: on the wall clock, and of this process's CPU time.

    CPU time leaves out what other processes took from the core, so it is the steadier one on a shared
    machine; it says nothing about work that a GPU or another process does.
    """

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]


class Ratio(NamedTuple):
    """Median of paired ratios and its 95 % interval."""

    median: float
    low: float
    high: float
    turns: int

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def take_turns(variants: Mapping[str, Callable[[], Any]], turns: int, warmup: int = 2) -> Turns:
    """Time `variants` in turn, A B A B ..., `turns` times each, after `warmup` turns that do not count.

    A variant that starts work on a device must wait for it.
    """
    times = Turns({name: [] for name in variants}, {name: [] for name in variants})
    for turn in range(-warmup, turns):
        for name, variant in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            variant()
            if turn >= 0:
                times.wall[name].append(time.perf_counter() - wall)
                times.cpu[name].append(time.process_time() - cpu)
    return times


def ratio(times: Mapping[str, Sequence[float]], of: str, to: str) -> Ratio:
    """Median and interval of `of` divided by `to`, turn by turn.

    Raises:
        ValueError: there are fewer turns than a 95 % interval needs.
    """
    ratios = sorted(a / b for a, b in zip(times[of], times[to], strict=True))
    count = len(ratios)
    if count < MIN_TURNS:
        raise ValueError(f"{count} turns are too few for a 95 % interval; at least {MIN_TURNS}")
    # Leave out as many at each end as keeps the median inside with a probability of 95 %.
    tail, cut = 0.5**count, 0
    while 2 * (tail + math.comb(count, cut + 1) * 0.5**count) <= 0.05:
        cut += 1
        tail += math.comb(count, cut) * 0.5**count
    return Ratio(median(ratios), ratios[cut], ratios[-1 - cut], count)


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
