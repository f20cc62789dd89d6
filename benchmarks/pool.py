"""What the pool of local runs costs: equal runs through a sweep against the same runs started by hand.

    python benchmarks/pool.py [--runs 24] [--slots 2] [--epochs 20]

By hand means: processes of the same kind, started all at once on every slot, so that each works on a machine whose
other slots are busy. The figure is the sweep's whole time, from the command to its end, over runs / slots times one
such process's time, measured before and after the sweep.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from spfde_exp.config import compose
from spfde_exp.launch.job import Order
from spfde_exp.machine import usable_cores
from spfde_exp.store import RunFolder


def by_hand(root: Path, seeds: range, overrides: list[str], threads: int) -> list[float]:
    """Seconds of each of some runs, one process each, all at once."""
    processes = []
    for seed in seeds:
        config = compose([*overrides, f"seed={seed}", f"runs_dir={root}"])
        folder = RunFolder.of(config)
        folder.path.mkdir(parents=True)
        folder.write_config(asdict(replace(config, threads=threads)))
        order = Order(str(folder.path.absolute()), [])
        processes.append(subprocess.Popen(order.command(), stderr=subprocess.DEVNULL))
    start, ends = time.perf_counter(), [0.0] * len(processes)
    while not all(ends):
        for place, process in enumerate(processes):
            if not ends[place] and process.poll() is not None:
                if process.returncode:
                    sys.exit(f"error: a run failed with exit status {process.returncode}")
                ends[place] = time.perf_counter() - start
        time.sleep(0.02)
    return ends


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--slots", type=int, default=min(2, usable_cores()))
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    threads = max(1, usable_cores() // arguments.slots)
    overrides = [f"epochs={arguments.epochs}", "freeze=none"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        one = by_hand(root / "before", range(arguments.slots), overrides, threads)
        start = time.perf_counter()
        command = [sys.executable, "-m", "spfde_exp", "-m", *overrides, f"seed=range(0,{arguments.runs})",
                   f"runs_dir={root / 'sweep'}", f"hydra.launcher.slots={arguments.slots}"]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        sweep = time.perf_counter() - start
        one += by_hand(root / "after", range(arguments.slots), overrides, threads)
    ideal = arguments.runs / arguments.slots * statistics.mean(one)
    print(f"one run on one busy slot: {statistics.mean(one):.1f} s ({', '.join(f'{seconds:.1f}' for seconds in one)})")
    print(f"{arguments.runs} runs on {arguments.slots} slots: {sweep:.1f} s, {sweep / ideal:.3f} of {ideal:.1f} s")


if __name__ == "__main__":
    main()
