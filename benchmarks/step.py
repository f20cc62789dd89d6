"""What masks and sieving add to one training step.

python benchmarks/step.py [--pairs 15] [--width 2] [--batch 32] [--threads 1] [--device cpu] [--data DIR]

bare         the hand-written dense step: zero_grad, forward, cross entropy, backward,
             torch.optim.SGD(foreach=True), under torch's default settings
bare, exact  the same, under torch.use_deterministic_algorithms
masked       what `Trainer.train_epoch` does per step at 90 % sparsity: also masked gradients, one parameter
             group per block, deterministic kernels, FLOP hooks, losses and right predictions gathered
sieve        the same with `Sieve.observe` in each step; a run has it once per epoch, over all of its examples

On a GPU the product's steps are played from CUDA graphs, and the hand-written ones are not.

Model, batches, memory layout and optimiser settings are equal; making the batch is left out of all of them.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from _paired import Turns, clocks, print_table, ratio, take_turns, verdict
from _steps import Bare, Batch, Product, batches_of
from _workload import common_options, images, machine, settings, size, trainer_for, wait

from spfde_exp.train.device import exact
from spfde_exp.train.trainer import WATCHED

# of, to, and the most that the ratio may be; None has no target
PAIRS = (("masked", "bare", 1.03), ("sieve", "bare", 1.035), ("sieve", "masked", 1.01), ("masked", "bare, exact", None))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--pairs", type=int, default=15, help="turns; at least 6")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    with exact(arguments.threads, "fp32"):
        title = f"one step of {size(arguments)}; {machine(device)}"
        times = measure(arguments, device)
    rows = [("ratio", "clock", "median [95 %]", "target", "ms of one step, least")]
    for of, to, most in PAIRS:
        for clock, seconds in clocks(times, device.type).items():
            figure = ratio(seconds, of, to)
            least = f"{1000 * min(seconds[of]):.1f} / {1000 * min(seconds[to]):.1f}"
            target = verdict(figure.median, most) if most else "without what determinism costs"
            rows.append((f"{of} / {to}", clock, str(figure), target, least))
    print_table(title, rows)


def measure(arguments: argparse.Namespace, device: torch.device) -> Turns:
    """Time all variants on the same batches."""
    data = images(4 * arguments.batch, arguments.data)
    make = partial(trainer_for, settings(arguments, "sieve=0.15"), data, device)
    batches = batches_of(make())
    steps: dict[str, tuple[Callable[[Batch], None], bool]] = {
        "bare": (Bare(make()), False),
        "masked": (Product(make()), True),
        "sieve": (Product(make(), sieve=True), True),
        "bare, exact": (Bare(make()), True),
    }
    turn = dict.fromkeys(steps, 0)

    def one(name: str) -> None:
        step, deterministic = steps[name]
        torch.use_deterministic_algorithms(deterministic)
        step(batches[turn[name] % len(batches)])
        turn[name] += 1
        wait(device)

    return take_turns({name: partial(one, name) for name in steps}, arguments.pairs, warmup=WATCHED + 1)


if __name__ == "__main__":
    main()
