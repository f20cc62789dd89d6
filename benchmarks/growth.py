"""How the cost of training grows with batch, width, depth and data: time against FLOPs.

python benchmarks/growth.py [--turns 8] [--width 2] [--batch 32] [--batches 8,16,32,64,128] [--widths 0.5,1,2]
                            [--models resnet20,resnet32,resnet56] [--epochs 2,4,8] [--threads 1] [--device cpu]

Each series changes one thing of `--model`, `--width` and `--batch`, and times the product's step at 90 % sparsity; data
times `Trainer.train_epoch` over so many batches. Every figure is over the one before it in its series, and so are the
FLOPs of dense kernels (masks are simulated): growth of time below that of FLOPs means that a larger step uses the
device better.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from _paired import clocks, median, print_table, ratio, take_shuffled
from _steps import Product, batches_of
from _workload import common_options, images, machine, plan_of, resting, settings, size, trainer_for, wait

from spfde_exp.cost.flops import epoch_flops
from spfde_exp.train.device import exact
from spfde_exp.train.trainer import WATCHED


class Point(NamedTuple):
    """One value in a series.

    Attributes:
        run: what is timed.
        flops: what it takes, in dense kernels.
    """

    run: Callable[[], None]
    flops: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--turns", type=int, default=8, help="at least 6")
    parser.add_argument("--batches", default="8,16,32,64,128", help="examples per step")
    parser.add_argument("--widths", default="0.5,1,2")
    parser.add_argument("--models", default="resnet20,resnet32,resnet56", help="by depth")
    parser.add_argument("--epochs", default="2,4,8", help="batches in an epoch; on a GPU rather 100,200,400")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    rows: list[tuple[str, ...]] = [
        ("what grows", "from", "to", "clock", "time, times [95 %]", "FLOPs, times", "ms, median")
    ]
    with exact(arguments.threads, "fp32"):
        title = f"growth from {size(arguments)}; {machine(device)}"
        for name, key, values in (
            ("batch", "batch", [int(v) for v in arguments.batches.split(",")]),
            ("width", "width", [float(v) for v in arguments.widths.split(",")]),
            ("depth", "model", arguments.models.split(",")),
        ):
            points = {str(v): step(argparse.Namespace(**vars(arguments) | {key: v}), device) for v in values}
            rows += growth(name, points, arguments.turns, device)
        lengths = [int(v) for v in arguments.epochs.split(",")]
        epochs = {str(length): epoch(arguments, length, device) for length in lengths}
        rows += growth("data, in batches", epochs, arguments.turns, device)
    print_table(title, rows)


def step(arguments: argparse.Namespace, device: torch.device) -> Point:
    """One training step of the network and batch that `arguments` names."""
    trainer = trainer_for(settings(arguments, "sieve=none"), images(arguments.batch, arguments.data), device)
    product, batch = Product(trainer), batches_of(trainer)[0]

    def run() -> None:
        product(batch)
        wait(device)

    return Point(run, epoch_flops(trainer.plan.layers, {}, 0, arguments.batch))


def epoch(arguments: argparse.Namespace, length: int, device: torch.device) -> Point:
    """An epoch of `length` batches."""
    data, overrides = images(length * arguments.batch, arguments.data), settings(arguments, "sieve=none")
    layers = plan_of(overrides).layers
    return Point(resting(overrides, data, device), epoch_flops(layers, {}, 0, length * arguments.batch))


def growth(name: str, points: dict[str, Point], turns: int, device: torch.device) -> Iterator[tuple[str, ...]]:
    """Lines of a series."""
    times = take_shuffled({value: point.run for value, point in points.items()}, turns, warmup=WATCHED + 1)
    for before, after in pairwise(points):
        flops = f"{points[after].flops / points[before].flops:.3f}"
        for clock, seconds in clocks(times, device.type).items():
            figure, now = str(ratio(seconds, after, before)), f"{1000 * median(seconds[after]):.1f}"
            yield name, before, after, clock, figure, flops, now


if __name__ == "__main__":
    main()
