"""What helps on this CPU: one training step of ResNet-32 and of the digits network, each setting against its base.

python benchmarks/cpu.py [--turns 10] [--width 2] [--batch 32] [--threads 1] [--cores N] [--eager] [--data DIR]

contiguous  the dense step written by hand with its tensors in PyTorch's own layout, over the same channels last
fused       the same with SGD(fused=True), over SGD(foreach=True)
threads     the product's step (masks at 90 %) with all cores, over one thread
bf16        the product's with precision=bf16, over fp32
compiled    the product's with compile=true, over eager; compiling needs a C++ compiler, and is told apart

Everything but `threads` has `--threads` threads. A turn of a network is about half a second of steps.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from _paired import clocks, median, print_table, ratio, take_shuffled
from _steps import Bare, Batch, Product, batches_of
from _workload import common_options, images, machine, settings, size, trainer_for

from spfde_exp.data import Dataset, load
from spfde_exp.machine import usable_cores
from spfde_exp.train.device import exact, has_compiler
from spfde_exp.train.trainer import WATCHED

CPU = torch.device("cpu")
# of, to, and what the comparison tells
PAIRS = (
    ("contiguous", "by hand", "contiguous / channels last"),
    ("fused", "by hand", "fused / foreach SGD"),
    ("product", "by hand", "the product's step / by hand"),
    ("all cores", "product", "all cores / --threads"),
    ("bf16", "product", "bf16 / fp32"),
    ("compiled", "product", "compiled / eager"),
)


class Network(NamedTuple):
    """What is trained: `steps` steps on each turn."""

    name: str
    overrides: list[str]
    data: Dataset
    steps: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--turns", type=int, default=10, help="at least 6")
    parser.add_argument(
        "--cores", type=int, default=usable_cores(), help="threads of `all cores`; default: all there are"
    )
    parser.add_argument("--eager", action="store_true", help="leave torch.compile out")
    arguments = parser.parse_args()
    digits = load("digits", ".")
    assert isinstance(digits, Dataset)
    chosen = Network(size(arguments), settings(arguments, "sieve=none"), images(4 * arguments.batch, arguments.data), 1)
    embedded = ["recipe=digits", "freeze=none", "sieve=none"]
    rows: list[tuple[str, ...]] = [("network", "step", "clock", "median [95 %]", "ms, median", "compiling, s")]
    title = f"{torch.backends.cpu.get_cpu_capability()}; {machine(CPU)}"
    for network in (chosen, Network("the digits network", embedded, digits, 20)):
        rows += compare(network, arguments)
    print_table(title, rows)
    if not (arguments.eager or has_compiler()):
        print("no C++ compiler here: compile=true was left out")


def compare(network: Network, arguments: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Lines of one network."""
    make = partial(trainer_for, dataset=network.data, device=CPU)
    batches = batches_of(make(network.overrides))[:4]
    product = Product(make(network.overrides))
    steps: dict[str, Callable[[Batch], None]] = {
        "by hand": Bare(make(network.overrides)),
        "contiguous": Bare(make(network.overrides), layout=torch.contiguous_format),
        "fused": Bare(make(network.overrides), fused=True),
        "product": product,
        "all cores": product,
        "bf16": Product(make([*network.overrides, "precision=bf16"])),
    }
    seconds = 0.0
    with exact(arguments.threads, "fp32"):
        if has_compiler() and not arguments.eager:
            compiled = steps["compiled"] = Product(make([*network.overrides, "compile=true"]))
            for _ in range(WATCHED):
                compiled(batches[0])
            start = time.perf_counter()
            compiled(batches[0])
            seconds = time.perf_counter() - start

        def turn(name: str) -> None:
            torch.set_num_threads(arguments.cores if name == "all cores" else arguments.threads)
            for index in range(network.steps):
                steps[name](batches[index % len(batches)])

        times = take_shuffled({name: partial(turn, name) for name in steps}, arguments.turns, warmup=2)
    for of, to, told in PAIRS:
        for clock, taken in clocks(times, "cpu").items():
            if of in steps:
                milliseconds = f"{1000 * median(taken[of]) / network.steps:.1f}"
                compiling = f"{seconds:.1f}" if of == "compiled" else ""
                yield network.name, told, clock, str(ratio(taken, of, to)), milliseconds, compiling


if __name__ == "__main__":
    main()
