"""The table of docs/methods.md, from run folders: `python -m analysis.methods results/digits_methods`.

One row per method and distribution, for each sparsity: accuracy, what it is above `static` with the same seeds, FLOPs
and seconds of training as summary.json has them. Lottery tickets come from their own sweep, which has one seed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from analysis.study import Row, paired, read, spread
from spfde_exp.launch.sweepfile import load_sweep

SWEEPS = ("digits_methods", "digits_lth")
SPARSITIES = {"0.9": "90 %", "0.95": "95 %"}
BASELINE = "static"


def name_of(row: Row) -> str:
    """``rigl, erk``: everything that the sweep file says but the sparsity."""
    return ", ".join(value for key, value in row.cell.items() if key != "sparsity")


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown lines; a setting that was not run is left empty."""
    by_place = {(name_of(row), row.cell["sparsity"]): row for row in rows}
    heads = [f"{s}: accuracy | above {BASELINE} | FLOPs | s" for s in SPARSITIES.values()]
    lines = [f"| method | {' | '.join(heads)} |", "|---" * (1 + 4 * len(heads)) + "|"]
    for name in dict.fromkeys(map(name_of, rows)):
        if dense := by_place.get((name, "dense")):
            fields = [*numbers(dense, None), *[""] * (4 * len(heads) - 4)]
        else:
            fields = [field for s in SPARSITIES for field in numbers(by_place[name, s], by_place[BASELINE, s])]
        lines.append(f"| `{name}` | {' | '.join(fields)} |")
    return lines


def numbers(row: Row, baseline: Row | None) -> list[str]:
    """The four fields of a setting."""
    if not row.summaries:
        return [""] * 4
    above = ""
    if baseline and baseline is not row and row.summaries.keys() & baseline.summaries.keys():
        middle, half = paired(row, baseline)
        above = f"{middle:+.2f}" + (f" ± {half:.2f}" if half == half else "")
    figures = (f"{mean(row.column('train_flops')):.2e}", f"{mean(row.column('train_time_s')):.0f}")
    return [spread(row.column("test_acc")), above, *figures]


def rows_of(runs: Path) -> list[Row]:
    """The settings of `SWEEPS` with their finished runs in a folder."""
    rows = []
    for sweep in SWEEPS:
        shared = {key: value for key, value in load_sweep(sweep).base.items() if key == "method"}
        rows += [Row(shared | row.cell, row.summaries) for row in read(runs, sweep)]
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of run folders")
    print("\n".join(table(rows_of(parser.parse_args().runs))))


if __name__ == "__main__":
    main()
