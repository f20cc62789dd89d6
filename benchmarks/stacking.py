"""Several runs on one device: a process each, one after the other in one process, or stacked into one.

python benchmarks/stacking.py [--runs 1,2,4,8,16] [--turns 8] [--seconds 2.5] [--width 2] [--batch 32] [--device cuda]

processes   the product's step, a process for each run
streams     the product's step, all runs in one process; on a GPU each has a stream of its own
vmap        one step of all models stacked: torch.func.stack_module_state and torch.vmap
grouped     the same, with the models' channels side by side in grouped convolutions

On a GPU the product's steps are played from CUDA graphs, which stacked ones are not.

Steps are forward, backward, masks at 90 % and SGD on ready batches. Figures are steps of all runs together in a second.
K runs in one process have as many threads as K processes have. First, stacked models are trained against separate ones,
in float64 for a few steps; the exit status is 1 if they differ.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import count

import torch
from _packing import Pool
from _paired import median, print_table, ratio, take_shuffled, verdict
from _stacked import Grouped, Vmapped
from _steps import Batch, Product, batches_of
from _workload import common_options, images, machine, settings, size, trainer_for, wait

from spfde_exp.train.device import exact
from spfde_exp.train.trainer import Trainer

STEPS, WEIGHTS_MOST = 4, 1e-4  # as benchmarks/_agreement.py: logits are rounded to float32
STACKED: dict[str, type[Vmapped] | type[Grouped]] = {"vmap": Vmapped, "grouped": Grouped}
IN_ONE = ("streams", *STACKED)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--runs", help="default: 1,2 on a CPU, 1,2,4,8,16 on a GPU")
    parser.add_argument("--turns", type=int, default=8, help="at least 6")
    parser.add_argument("--seconds", type=float, default=2.5, help="that each way trains in a turn")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    default = "1,2,4,8,16" if device.type == "cuda" else "1,2"
    runs = [int(number) for number in (arguments.runs or default).split(",")]
    wrong = {}
    with exact(arguments.threads, "fp32"):
        for name in STACKED:
            wrong[name] = difference(arguments, device, name)
        rates = measure(arguments, device, runs)
    rows = [("runs", "way", "steps/s in all", "/ one process [95 %]", "/ processes [95 %]")]
    for name, per_second in rates.items():
        number, way = name.split()
        against = "" if way == "processes" else str(ratio(rates, name, f"{number} processes"))
        one = str(ratio(rates, name, f"{runs[0]} processes"))
        rows.append((number, way, f"{median(per_second):.2f}", one, against))
    print_table(f"training steps of several runs, {size(arguments)}; {machine(device)}", rows)
    checks = [("way", "differs by", "target")]
    checks += [(name, f"{figure:.1e}", verdict(figure, WEIGHTS_MOST)) for name, figure in wrong.items()]
    print_table(f"two runs stacked against the same trained apart, weights after {STEPS} steps in float64", checks)
    if not all(figure <= WEIGHTS_MOST for figure in wrong.values()):
        sys.exit("stacked runs are not the runs they stand for")


def trainers(arguments: argparse.Namespace, device: torch.device, number: int) -> list[Trainer]:
    """As many runs that differ in their seed."""
    data = images(4 * arguments.batch, arguments.data)
    return [trainer_for(settings(arguments, "sieve=none", f"seed={seed}"), data, device) for seed in range(number)]


def batch_of(batches: Sequence[Batch], step: int, run: int) -> Batch:
    """What `run` is trained on: no two runs on the same."""
    return batches[(step + run) % len(batches)]


def difference(arguments: argparse.Namespace, device: torch.device, name: str) -> float:
    """How far two stacked models are from the same two trained separately, over how far those went; in float64."""
    separate = trainers(arguments, device, 2)
    batches = [(x.double(), y, indices) for x, y, indices in batches_of(separate[0])]
    for trainer in separate:
        trainer.model.double()
    steps = [Product(trainer) for trainer in separate]  # these draw the masks of the first epoch
    before = [[p.detach().clone() for p in trainer.model.parameters()] for trainer in separate]
    stacked = STACKED[name](separate)
    for step in range(STEPS):
        of_runs = [batch_of(batches, step, run) for run in range(2)]
        stacked(of_runs)
        for train, batch in zip(steps, of_runs, strict=True):
            train(batch)
    figures = []
    for run, trainer in enumerate(separate):
        ours, theirs, first = (
            torch.cat([p.detach().flatten() for p in tensors])
            for tensors in (stacked.weights(run), trainer.model.parameters(), before[run])
        )
        figures.append((ours - theirs).norm() / (theirs - first).norm())
    return float(torch.stack(figures).max())  # nan where nothing moved


def in_one_process(arguments: argparse.Namespace, device: torch.device, way: str, number: int) -> Callable[[int], None]:
    """Trains all of `number` runs by one step, given the step's number."""
    all_runs = trainers(arguments, device, number)
    batches = batches_of(all_runs[0])
    wait(device)  # the streams do not wait for what made the runs
    if way in STACKED:
        stacked = STACKED[way](all_runs)
        return lambda step: stacked([batch_of(batches, step, run) for run in range(number)])
    steps = [Product(trainer) for trainer in all_runs]
    streams = [torch.cuda.Stream(device) if device.type == "cuda" else None for _ in steps]

    def train(step: int) -> None:
        for run, (one, stream) in enumerate(zip(steps, streams, strict=True)):
            with torch.cuda.stream(stream) if stream else nullcontext():
                one(batch_of(batches, step, run))

    return train


def measure(arguments: argparse.Namespace, device: torch.device, runs: Sequence[int]) -> dict[str, list[float]]:
    """Number of runs and way -> steps per second of each turn."""
    names = [f"{number} {way}" for number in runs for way in ("processes", *IN_ONE)]
    rates: dict[str, list[float]] = {name: [] for name in names}
    cores = len(os.sched_getaffinity(0))
    threads = max(1, cores // max(runs))
    ways = {name: in_one_process(arguments, device, name.split()[1], int(name.split()[0]))
            for name in names if not name.endswith("processes")}  # fmt: skip

    def turn(name: str, pool: Pool) -> None:
        number = int(name.split()[0])
        torch.set_num_threads(min(cores, threads * number))
        rates[name].append(pool.rate(number, arguments.seconds) if name not in ways else rate(ways[name], number))

    def rate(train: Callable[[int], None], number: int) -> float:
        start = time.monotonic()
        for step in count(1):
            train(step)
            wait(device)
            taken = time.monotonic() - start
            if taken >= arguments.seconds:
                break
        return number * step / taken

    with Pool(max(runs), device, settings(arguments, "sieve=none"), threads) as pool:
        take_shuffled({name: partial(turn, name, pool) for name in names}, arguments.turns, warmup=1)
    whole = min(map(len, rates.values()))  # turns, of which the first is the warm-up
    return {name: values[1:whole] for name, values in rates.items()}


if __name__ == "__main__":
    main()
