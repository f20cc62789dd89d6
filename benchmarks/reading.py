"""Reading many run folders as a table: the first time, again, and after one run has changed; all tables from them.

    python benchmarks/reading.py [--runs 1000 10000] [--turns 5] [--place FOLDER]

The folders are made from those in results/digits: their files, with a configuration of today that no other has (three
seeds each) and its own signature and accuracy. Each reading is a process of its own, timed without its imports; its
memory is the most that it had, pandas included. The files are in the system's disk cache, as after the last training.
"All tables" reads again and fills every table of the papers, as Markdown; it is timed with its imports.
"""

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from _paired import median, print_table, verdict
from _workload import ROOT, machine

from analysis.cache import NAME, SETTLED_S
from spfde_exp.config import compose, signature

FIRST_S, AGAIN_S, TABLES_S, MEMORY_GB = 60.0, 2.0, 5.0, 1.0  # targets for 10,000 runs
SEEDS = 3
CELLS = [f"sparsity={s} freeze={f}" for s in (0.6, 0.9) for f in ("none", 0.1, 0.15, 0.2, 0.25, 0.3)]
READ = """
import json, re, sys, time
wall, cpu = time.perf_counter(), time.process_time()
from analysis.load import load_runs
if sys.argv[2] == "tables":
    from analysis.build import fill
    from analysis.kept import keeping
    from analysis.render import markdown
    from analysis.tables import find_table, table_ids
else:
    wall, cpu = time.perf_counter(), time.process_time()
frame = load_runs([sys.argv[1]])
if sys.argv[2] == "tables":
    with keeping():
        texts = [markdown(fill(find_table(name), frame, ["recipe=digits"] * (name[0] != "M" or name == "M1")))
                 for name in table_ids()]
    assert all(len(text) > 200 for text in texts)
print(json.dumps({
    "rows": len(frame), "mean": frame["test_acc"].mean(), "cells": frame["cell"].nunique(),
    "notes": frame.attrs["notes"],
    "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
    # getrusage would tell what the process that started this one had
    "gb": int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 2**20,
}))
"""


def make(runs_dir: Path, runs: int) -> float:
    """Write `runs` finished runs; returns the mean of their accuracies."""
    names = ("meta.json", "summary.json", "metrics.jsonl", "plan.json")
    models = [
        {name: (path / name).read_text() for name in names} for path in sorted((ROOT / "results/digits").glob("*/"))
    ]
    cells = [asdict(compose(["recipe=digits", "logger=none", *cell.split()])) for cell in CELLS]
    total = 0.0
    for number in range(runs):
        cell, seed = divmod(number, SEEDS)
        tree = cells[cell % len(cells)]
        tree["seed"], tree["optim"]["lr"], tree["runs_dir"] = seed, 0.1 + 1e-5 * (cell // len(cells)), str(runs_dir)
        folder = runs_dir / signature(tree)
        folder.mkdir(parents=True)
        files = dict(models[number % len(models)])
        summary, meta = json.loads(files["summary.json"]), json.loads(files["meta.json"])
        summary |= {"signature": folder.name, "seed": seed, "test_acc": summary["test_acc"] - 1e-4 * (number % 997)}
        meta |= {"signature": folder.name, "runs_per_device": 1, "finished": meta["finished"] + number}
        total += summary["test_acc"]
        status = {"attempt": 1, "error": None, "failure": None, "state": "done", "host": meta["host"], "pid": number}
        files |= {"summary.json": json.dumps(summary, indent=1), "meta.json": json.dumps(meta, indent=1)}
        files |= {"status.json": json.dumps(status, indent=1)}
        files |= {"config.yaml": yaml.dump({"schema_version": 1, **tree}, Dumper=yaml.CSafeDumper)}
        for name, text in files.items():
            (folder / name).write_text(text)
    return total / runs


def read(runs_dir: Path, what: str = "runs") -> dict[str, Any]:
    """One reading in a process of its own, of the ``runs`` alone or of all ``tables`` as well."""
    command = [sys.executable, "-c", READ, str(runs_dir), what]
    answer: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return answer


def measure(runs: int, turns: int, place: Path) -> list[tuple[str, ...]]:
    """A line of the table for each kind of reading."""
    with tempfile.TemporaryDirectory(dir=place) as temporary:
        runs_dir = Path(temporary) / "runs"
        mean = make(runs_dir, runs)
        time.sleep(SETTLED_S)
        changed = next(runs_dir.glob("*/summary.json"))
        read(runs_dir)  # the code, too, is to be in the disk's cache
        read(runs_dir, "tables")  # resolved cells are kept from now on
        kinds = ("first", "again", "after one run has changed", "all tables")
        readings: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
        for _ in range(turns):
            (runs_dir / NAME).unlink(missing_ok=True)
            readings["first"].append(read(runs_dir))
            readings["again"].append(read(runs_dir))
            changed.write_text(changed.read_text())
            readings["after one run has changed"].append(read(runs_dir))
            readings["all tables"].append(read(runs_dir, "tables"))
        size = (runs_dir / NAME).stat().st_size / 2**20
    lines: list[tuple[str, ...]] = []
    limits = {"first": FIRST_S, "all tables": TABLES_S}
    for name, taken in readings.items():
        right = all(turn["rows"] == runs and not turn["notes"] and abs(turn["mean"] - mean) < 1e-6 for turn in taken)
        wall, cpu, memory = (median([turn[key] for turn in taken]) for key in ("wall", "cpu", "gb"))
        times = (f"{wall:.2f}", verdict(wall, limits.get(name, AGAIN_S)), f"{cpu:.2f}")
        sizes = (f"{memory:.2f}", verdict(memory, MEMORY_GB), f"{size:.1f}")
        lines.append((f"{runs:,}", name, *times, f"{1e3 * cpu / runs:.3f}", *sizes, "yes" if right else "NO"))
    return lines


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--place", type=Path, help="where the folders go (default: the system's temporary folder)")
    arguments = parser.parse_args()
    head = "runs|reading|wall, s|target|CPU, s|CPU per run, ms|memory, GB|target|cache, MB|right"
    rows = [tuple(head.split("|"))]
    for runs in arguments.runs:
        rows += measure(runs, arguments.turns, arguments.place)
    print_table(f"reading run folders, median of {arguments.turns}; {machine(torch.device('cpu'))}", rows)


if __name__ == "__main__":
    main()
