"""Threads and neighbours: what more cores give a training step, and what a run on the next core takes from it.

python benchmarks/scaling.py [--sparsity 0.9,0.98] [--threads 2] [--turns 9] [--steps 3] [--data DIR]
                             [--model resnet32] [--width 2] [--batch 32]

dense, sparse    `Trainer.train_step` by the engine of that name, uniform masks, method=static
copies           20 of 64 MB in place of a step: all of their time is that of memory, which the cores of a machine share

The first table has one process that takes the steps with one thread and with `--threads`, in turns. `serial` is the
part of the step that no thread shortens, by Amdahl's law from both, and the last columns are what the law promises on
more cores of the same kind; it knows nothing of memory that they share, nor of pieces of work fewer than cores.

In the second one the process keeps to one core and one thread, and another one does the same on the next core beside
it, or is stopped; or it is stopped and the process has both cores and two threads. `slots` is what two runs as
fast as this one, side by side with one thread each, do in the time that both take one after the other with two: the
launcher divides threads among the runs of a machine.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import torch
from _paired import Turns, at_least, interval, print_table, ratio, take_turns
from _steps import Batch, Product, batches_of
from _workload import common_options, images, machine, settings, size, trainer_for

from spfde_exp.train.device import exact
from spfde_exp.train.trainer import WATCHED

ENGINES = ("dense", "sparse")
MORE_CORES = (4, 16, 64)
LEAST_BESIDE = 0.98  # of the speed alone
CPU = torch.device("cpu")
COPIES = "copies"
COPIED, TIMES = 1 << 26, 20  # bytes, more than the last cache of most machines; how often in place of a step


def main() -> None:
    """Measure and print; or, with `--neighbour`, take steps until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.set_defaults(threads=2)
    parser.add_argument("--sparsity", default="0.9,0.98")
    parser.add_argument("--turns", type=int, default=9, help="at least 6")
    parser.add_argument("--steps", type=int, default=3, help="in a turn")
    parser.add_argument("--neighbour", choices=(*ENGINES, COPIES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads < 2:
        parser.error("--threads is to be at least 2: it is held against one")
    sparsities = [float(value) for value in arguments.sparsity.split(",")]
    if arguments.neighbour:
        with exact(1, "fp32"):
            neighbour(work_of(arguments.neighbour, sparsities[0], arguments))
    title = f"one step of {size(arguments)}; {machine(CPU)}"
    heading = ("sparsity", "engine", "threads", "times faster [95 %]", "efficiency", "serial", "ms of one step, least")
    rows = [(*heading, *(f"on {cores}" for cores in MORE_CORES))]
    with exact(1, "fp32"):
        rows += [threads(engine, s, arguments) for s in sparsities for engine in ENGINES]
    print_table(f"threads: {title}", rows)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("\nno second core for a neighbour")
        return
    columns = "speed of alone [95 %]", "target", "slots [95 %]", "target of slots"
    beside: list[tuple[str, ...]] = [
        ("sparsity", "engine", *columns, "ms of one step, least: alone / beside / two threads")
    ]
    with exact(1, "fp32"):
        beside += [beside_another(engine, s, arguments, cores) for s in sparsities for engine in ENGINES]
        beside.append(beside_another(COPIES, 0.0, arguments, cores))
    print_table(f"a neighbour on the next core: {title}", beside)


class Steps:
    """Training steps by one engine, over the same batches again and again."""

    def __init__(self, engine: str, sparsity: float, arguments: argparse.Namespace) -> None:
        overrides = [*settings(arguments, "sieve=none"), "method=static", f"sparsity={sparsity}", f"engine={engine}"]
        self.step = Product(trainer_for(overrides, images(4 * arguments.batch, arguments.data), CPU))
        self.batches: list[Batch] = batches_of(self.step.trainer)
        self.count = arguments.steps

    def __call__(self) -> None:
        for index in range(self.count):
            self.step(self.batches[index % len(self.batches)])


class Copies:
    """What a step is held against: nothing but memory, read and written."""

    def __init__(self, count: int) -> None:
        self.source, self.target = torch.ones(2, COPIED // 4)
        self.count = count

    def __call__(self) -> None:
        for _ in range(self.count * TIMES):
            self.target.copy_(self.source)


def work_of(name: str, sparsity: float, arguments: argparse.Namespace) -> Callable[[], None]:
    """What is timed under that name."""
    return Copies(arguments.steps) if name == COPIES else Steps(name, sparsity, arguments)


def threads(engine: str, sparsity: float, arguments: argparse.Namespace) -> tuple[str, ...]:
    """A line of the first table."""
    steps = Steps(engine, sparsity, arguments)

    def turn(number: int) -> None:
        torch.set_num_threads(number)
        steps()

    try:
        times = take_turns({str(n): partial(turn, n) for n in (1, arguments.threads)}, arguments.turns, WATCHED)
    finally:
        torch.set_num_threads(1)
    faster = ratio(times.wall, "1", str(arguments.threads))
    serial = serial_share(faster.median, arguments.threads)
    return (
        f"{sparsity:g}", engine, str(arguments.threads), str(faster), f"{faster.median / arguments.threads:.2f}",
        f"{serial:.2f}", least(times, arguments.steps), *(f"{amdahl(serial, cores):.1f}" for cores in MORE_CORES),
    )  # fmt: skip


def serial_share(faster: float, cores: int) -> float:
    """Share of the work that is done by one core alone, if `cores` are so many times `faster` than one (Amdahl)."""
    return max(0.0, (cores / faster - 1) / (cores - 1))


def amdahl(serial: float, cores: int) -> float:
    """How many times faster so many cores are than one."""
    return 1 / (serial + (1 - serial) / cores)


def least(times: Turns, steps: int) -> str:
    """Milliseconds of the fastest turn of each variant, by step."""
    return " / ".join(f"{1000 * min(seconds) / steps:.1f}" for seconds in times.wall.values())


def beside_another(name: str, sparsity: float, arguments: argparse.Namespace, cores: list[int]) -> tuple[str, ...]:
    """A line of the second table."""
    os.sched_setaffinity(0, cores[:1])
    command = [sys.executable, __file__, *given(arguments), "--neighbour", name, "--sparsity", f"{sparsity}"]
    other = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        os.sched_setaffinity(0, cores[1:2])
        work = work_of(name, sparsity, arguments)
        assert other.stdout is not None
        if not other.stdout.readline():  # signals to one that has ended would go unnoticed
            raise RuntimeError("the neighbour ended before it was ready")

        def turn(signalled: int, threads: int) -> None:
            os.kill(other.pid, signalled)
            keep_to(cores[1:2] if threads == 1 else cores[:2])
            torch.set_num_threads(threads)
            work()

        variants = {
            "alone": partial(turn, signal.SIGSTOP, 1),
            "beside": partial(turn, signal.SIGCONT, 1),
            "both cores": partial(turn, signal.SIGSTOP, 2),
        }
        times = take_turns(variants, arguments.turns, WATCHED)
        if other.poll() is not None:
            raise RuntimeError("the neighbour ended before its time")
    finally:
        other.kill()
        other.wait()
        keep_to(cores)
        torch.set_num_threads(1)
    speed = ratio(times.wall, "alone", "beside")
    slots = interval([in_slots(*turn) for turn in zip(times.wall["beside"], times.wall["both cores"], strict=True)])
    targets, masks = (at_least(speed.median, LEAST_BESIDE), at_least(slots.median, 1)), f"{sparsity:g}"
    if name == COPIES:
        targets, masks = ("none", "none"), "none"
    return masks, name, str(speed), targets[0], str(slots), targets[1], least(times, arguments.steps)


def in_slots(beside: float, both_cores: float) -> float:
    """How many times faster two runs are side by side, in so many seconds each, than one after the other."""
    return 2 * both_cores / beside


def keep_to(cores: list[int]) -> None:
    """Run all threads of this process on such cores."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


def given(arguments: argparse.Namespace) -> list[str]:
    """The options of the network and its images, as on the command line."""
    names = ("model", "width", "batch", "data", "steps")
    return [f"--{name}={value}" for name in names if (value := getattr(arguments, name)) is not None]


def neighbour(work: Callable[[], None]) -> None:
    """Do it until killed."""
    for _ in range(WATCHED):
        work()
    print("ready", flush=True)
    while True:
        work()


if __name__ == "__main__":
    main()
