"""The README's tables of results, from run folders: `python -m analysis.study results/digits`.

One row per setting in the order of first appearance of its sweep file, accuracies as mean and deviation over seeds;
then the paired differences over seeds between each setting and the one before it, with a 95 % t-interval.
"""

import argparse
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy import stats

from spfde_exp.config import compose, signature
from spfde_exp.launch.sweepfile import load_sweep
from spfde_exp.store import RunFolder


@dataclass(frozen=True)
class Row:
    """One setting: the sweep file's overrides and the summaries of its runs by seed."""

    cell: dict[str, str]
    summaries: dict[int, dict[str, Any]]

    @property
    def label(self) -> str:
        """``method=mest_ems sparsity=0.9``."""
        return " ".join(f"{key}={value}" for key, value in self.cell.items())

    def column(self, key: str) -> list[float]:
        """A key of the summaries, by ascending seed."""
        return [float(self.summaries[seed][key]) for seed in sorted(self.summaries)]


def read(runs: Path, sweep_id: str) -> list[Row]:
    """The finished runs of a sweep that lie in `runs`, found by signature."""
    sweep, rows = load_sweep(sweep_id), []
    for cell in sweep.cells:
        summaries = {}
        config = compose([f"{key}={value}" for key, value in (sweep.base | cell).items()])
        for seed in sweep.seeds:
            folder = RunFolder(runs / signature(replace(config, seed=seed)))
            if (summary := folder.summary()) is not None:
                summaries[seed] = summary
        rows.append(Row(cell, summaries))
    return rows


def spread(values: list[float]) -> str:
    """Mean and, for several values, standard deviation."""
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{mean(values):.2f}"


def table(rows: list[Row]) -> list[str]:
    """Markdown lines."""
    lines = [
        "| setting | accuracy % | seeds | FLOPs | freezing saves % (flat) | sieving saves % | metered / planned | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if not row.summaries:
            lines.append(f"| {row.label} | not run | 0 | | | | | |")
            continue
        cells = [f"`{row.label}`", spread(row.column("test_acc")), str(len(row.summaries))]
        cells.append(f"{mean(row.column('train_flops')):.4g}")
        cells += [f"{100 * mean(row.column(f'flops_reduction_{part}')):.2f}" for part in ("freeze", "sieve")]
        cells += [f"{planned(row):.6f}", f"{mean(row.column('train_time_s')):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def planned(row: Row) -> float:
    """Metered FLOPs over those that plan.json predicted, mean over seeds."""
    return mean(summary["train_flops"] / summary["planned"] for summary in row.summaries.values())


def differences(rows: list[Row]) -> list[str]:
    """Paired differences between neighbouring settings, one line each."""
    lines = []
    for before, after in itertools.pairwise(rows):
        seeds = sorted(before.summaries.keys() & after.summaries.keys())
        if len(seeds) > 1:
            middle, half = paired(after, before)
            lines.append(
                f"`{after.label}` less `{before.label}`: {middle:+.2f} points, "
                f"95 % interval {middle - half:+.2f} to {middle + half:+.2f} ({len(seeds)} pairs)"
            )
    return lines


def paired(row: Row, other: Row) -> tuple[float, float]:
    """Mean over common seeds of `row`'s accuracy less `other`'s, and half its 95 % t-interval (nan for one seed)."""
    seeds = sorted(row.summaries.keys() & other.summaries.keys())
    pairs = [row.summaries[s]["test_acc"] - other.summaries[s]["test_acc"] for s in seeds]
    if len(pairs) < 2:
        return mean(pairs), float("nan")
    return mean(pairs), float(stats.t.ppf(0.975, len(pairs) - 1)) * stdev(pairs) / len(pairs) ** 0.5


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of run folders")
    parser.add_argument("--sweep", help="sweep file (default: the folder's name)")
    arguments = parser.parse_args()
    rows = read(arguments.runs, arguments.sweep or arguments.runs.name)
    for row in rows:
        for summary in row.summaries.values():
            plan = RunFolder(arguments.runs / summary["signature"]).json("plan") or {}
            summary["planned"] = plan["prediction"]["train_flops"]
    print("\n".join([*table(rows), "", *differences(rows)]))


if __name__ == "__main__":
    main()
