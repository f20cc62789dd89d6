"""Planning a thousand runs, against Hydra's own composition of them.

python benchmarks/planning.py [--pairs 6]

Each turn plans 1,000 runs with `dry_run=json` in a fresh process, from its start to its end, and composes a random
sample of 40 of them with Hydra alone, in this process; 25 times that is what Hydra needs for all. The sample's
signatures have to be those of the plan. The first turn, which does not count, tries how fast the device is; what it
tells is kept, in a temporary folder.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from _paired import median, print_table, ratio, take_turns, verdict
from _workload import ROOT, machine
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from spfde_exp.config import resolve, signature
from spfde_exp.launch.sweepfile import expand
from spfde_exp.options import accept_numbers, folder

RUNS, SAMPLE = 1000, 40
MOST_S = 15.0
GRID = (
    "recipe=cifar100",
    "sparsity=range(0.5,0.99,0.05)",
    "freeze=none,0.1,0.15,0.2,0.25",
    "sieve=none,0.1,0.15,0.2",
    "seed=range(5)",
)


def plan(place: Path) -> str:
    """The plan of all runs, one JSON object per line."""
    command = [sys.executable, "-m", "spfde_exp", "-m", *GRID, "dry_run=json", f"runs_dir={place / 'runs'}"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(place), "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


def compose(jobs: list[list[str]]) -> list[str]:
    """Signatures of `jobs`, composed by Hydra one by one."""
    loader = GlobalHydra.instance().config_loader()
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    return [signature(resolve(loader.load_sweep_config(master, job))) for job in jobs]


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6, help="turns; at least 6")
    arguments = parser.parse_args()
    accept_numbers()
    with (
        initialize_config_dir(config_dir=str(folder("conf")), version_base="1.3"),
        tempfile.TemporaryDirectory() as temporary,
    ):
        jobs = expand([*GRID, "dry_run=json"], None)
        places = sorted(random.Random(0).sample(range(RUNS), SAMPLE))
        sample = [jobs[place] for place in places]
        planned = [json.loads(line)["signature"] for line in plan(Path(temporary)).splitlines()]
        equal = len(planned) == RUNS and [planned[place] for place in places] == compose(sample)
        variants: dict[str, Callable[[], object]] = {
            "plan": partial(plan, Path(temporary)),
            "sample": partial(compose, sample),
        }
        seconds = take_turns(variants, arguments.pairs, warmup=1).wall
    seconds["Hydra"] = [took * RUNS / SAMPLE for took in seconds["sample"]]
    took = median(seconds["plan"])
    rows = [("1,000 runs", "seconds, median", "target, s", "time / Hydra's composition [95 %]")]
    rows.append(("dry_run=json", f"{took:.1f}", verdict(took, MOST_S), str(ratio(seconds, "plan", "Hydra"))))
    rows.append(("Hydra's composition alone", f"{median(seconds['Hydra']):.1f}", "", "1"))
    print_table(f"planning; {machine(torch.device('cpu'))}", rows)
    print(f"the plan of {SAMPLE} random runs equals Hydra's composition: {'yes' if equal else 'NO'}")


if __name__ == "__main__":
    main()
