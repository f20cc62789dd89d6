"""What a user waits for before anything trains, against importing Hydra; and the default sweep, end to end.

python benchmarks/startup.py [--pairs 9] [--sweep]

Each turn starts three fresh processes one after the other. --sweep adds the six-run sweep of the quick start
in a temporary folder, once to train it and once again, when everything is done: whole processes, wall clock.
"""

import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from functools import partial

import torch
from _paired import median, print_table, ratio, take_turns, verdict
from _workload import ROOT, machine

MOST = 4.0  # times importing Hydra
FIRST_MOST_S, AGAIN_MOST_S = 120.0, 10.0

HYDRA = ("-c", "import hydra")
COMMANDS = {"--help": ("-m", "spfde_exp", "--help"), "--cfg job": ("-m", "spfde_exp", "--cfg", "job")}
SWEEP = ("-m", "spfde_exp", "-m", "sparsity=0.9,0.95,0.98", "freeze=0.15,0.2")


def python(*arguments: str) -> None:
    """Run Python on `arguments` in the checkout; raise CalledProcessError if it fails."""
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def children_cpu() -> float:
    """CPU seconds of the child processes that have ended, and of theirs."""
    used = os.times()
    return used.children_user + used.children_system


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9, help="turns; at least 6")
    parser.add_argument("--sweep", action="store_true", help="also train the default sweep, twice; minutes")
    arguments = parser.parse_args()
    here = machine(torch.device("cpu"))
    variants = {"import hydra": partial(python, *HYDRA)}
    variants |= {name: partial(python, *command) for name, command in COMMANDS.items()}
    seconds = take_turns(variants, arguments.pairs, warmup=1).wall
    rows = [("command", "time / import hydra [95 %]", "target", "seconds, median")]
    for name in COMMANDS:
        figure = ratio(seconds, name, "import hydra")
        rows.append((name, str(figure), verdict(figure.median, MOST), f"{median(seconds[name]):.2f}"))
    rows.append(("import hydra", "1", "", f"{median(seconds['import hydra']):.2f}"))
    print_table(f"starting; {here}", rows)
    if arguments.sweep:
        times = [("sweep", "target, s", "seconds", "CPU seconds of all processes")]
        with tempfile.TemporaryDirectory() as runs:
            for name, most in (("six runs, first time", FIRST_MOST_S), ("six runs, again", AGAIN_MOST_S)):
                start, cpu = time.perf_counter(), children_cpu()
                python(*SWEEP, f"runs_dir={runs}")
                took = time.perf_counter() - start
                times.append((name, verdict(took, most), f"{took:.1f}", f"{children_cpu() - cpu:.1f}"))
        print_table(f"the quick start's sweep; {here}", times)


if __name__ == "__main__":
    main()
