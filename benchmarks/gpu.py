"""What a GPU does with SpFDE: right, repeatable, how fast, how many runs at once. benchmarks/gpu.sh calls it.

python benchmarks/gpu.py [--device cuda] [--tiny]

Data: CIFAR-100 from the folder in SPFDE_DATA, else random images of its shape. Prints one table; the exit
status is 1 if a check fails. `--tiny` runs every stage in small, to test the script and not the machine.
"""

import os
import re
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import dataclass
from functools import partial

import torch
from _agreement import agreement, same
from _packing import Pool
from _paired import MIN_TURNS, median, print_table, ratio, take_turns
from _workload import images, machine, trainer_for, wait
from torch.profiler import ProfilerActivity, profile

from spfde_exp.train.device import exact
from spfde_exp.train.trainer import Trainer

CIFAR_EXAMPLES, EPOCHS = 50_000, 160
ARITHMETIC = re.compile(r"convolution|addmm|::mm|bmm")
HEADING = ("stage", "what", "figure", "ratio [95 %]", "check")
Row = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    model: tuple[str, ...]
    batches: tuple[int, ...]
    steps: int  # in a timed epoch
    processes: tuple[int, ...]
    window_s: float  # that processes train together
    turns: int


FULL = Scale(("model=resnet32", "model.width=2"), (32, 128), 60, (1, 2, 4, 8, 16), 2.0, 8)
TINY = Scale(("model=resnet14", "model.width=0.25"), (8, 16), 2, (1, 2), 0.2, MIN_TURNS)
SETTINGS = ("method=mest_ems", "sparsity=0.9", "freeze=none", "sieve=none")


def main() -> None:
    """Run all stages; print what is known even when interrupted."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu, cuda or cuda:n")
    parser.add_argument("--tiny", action="store_true", help="every stage in small")
    arguments = parser.parse_args()
    device, scale = torch.device(arguments.device), TINY if arguments.tiny else FULL
    root, threads = os.environ.get("SPFDE_DATA"), torch.get_num_threads()
    rows: list[Row] = []
    begun = time.monotonic()
    try:
        checks = agreement(device, list(scale.model), threads)
        rows += [("correct", what, figure, "", "ok" if good else "FAILED") for what, figure, good in checks]
        rows += graphs(device, scale, root, threads)
        rows += arithmetic(device, scale, root, threads)
        rows += determinism(device, scale, root, threads)
        rows += epochs(device, scale, root, threads)
        rows += packing(device, scale)
    finally:
        data = "CIFAR-100" if root else "random images"
        took = time.monotonic() - begun
        print_table(f"{' '.join(scale.model)} on {data}, {took:.0f} s; {machine(device)}", [HEADING, *rows])
    if any(row[-1] == "FAILED" for row in rows):
        sys.exit("a check failed: do not trust this device before it is understood")


def warm_trainer(
    batch: int, precision: str, device: torch.device, scale: Scale, root: str | None, *more: str
) -> Trainer:
    """A trainer at the start of epoch 1, for which `train_epoch(1)` can be called again and again."""
    data = images(scale.steps * batch, root)
    settings = [*scale.model, *SETTINGS, f"optim.batch_size={batch}", f"precision={precision}", *more]
    trainer = trainer_for(settings, data, device)
    for epoch in (0, 1):
        trainer.start_epoch(epoch)
    return trainer


def graphs(device: torch.device, scale: Scale, root: str | None, threads: int) -> list[Row]:
    """Steps played from CUDA graphs against the same steps as they are: the same bits, and seconds."""
    batch = scale.batches[0]
    with exact(threads, "fp32"):
        played, plain = (warm_trainer(batch, "fp32", device, scale, root) for _ in range(2))
        if played.graph is None:
            return [("graphs", "CUDA graphs", "none on this device", "", "")]
        plain.graph = None

        def epoch(trainer: Trainer) -> None:
            trainer.train_epoch(1)
            wait(device)

        variants = {"graphs": partial(epoch, played), "without": partial(epoch, plain)}
        times = take_turns(variants, scale.turns, warmup=1)
    good = played.graph.usable and played.graph.replays > 0
    good &= same(played.model.state_dict(), plain.model.state_dict())
    step = 1000 * median(times.wall["graphs"]) / scale.steps
    what = f"batch {batch}, fp32, bit-equal after {scale.turns + 1} epochs; seconds with / without"
    figure = f"{step:.2f} ms a step, {played.graph.replays} replays of {played.graph.recordings} graphs"
    return [("graphs", what, figure, str(ratio(times.wall, "graphs", "without")), "ok" if good else "FAILED")]


def arithmetic(device: torch.device, scale: Scale, root: str | None, threads: int) -> list[Row]:
    """Share of a step's time that convolutions and matrix products take: their kernels' seconds over the step's."""
    rows: list[Row] = []
    kinds = [ProfilerActivity.CUDA] if device.type == "cuda" else []
    for batch in scale.batches:
        with exact(threads, "fp32"):
            product = warm_trainer(batch, "fp32", device, scale, root)
            trainer = warm_trainer(batch, "fp32", device, scale, root, "cuda_graphs=false")  # whose kernels are seen
            seconds = []
            for _ in range(3):
                trainer.train_epoch(1)
                start = time.perf_counter()
                product.train_epoch(1)
                wait(device)
                seconds.append(time.perf_counter() - start)
            with profile(activities=[ProfilerActivity.CPU, *kinds]) as profiler:
                trainer.train_epoch(1)
                wait(device)
        which = "self_device_time_total" if kinds else "self_cpu_time_total"
        spent = {event.key: float(getattr(event, which)) for event in profiler.key_averages()}
        busy = sum(us for key, us in spent.items() if key.startswith("aten::") and ARITHMETIC.search(key)) / 1e6
        what = f"batch {batch}, fp32, convolutions and matrix products in the product's epoch"
        rows.append(("arithmetic", what, f"{100 * busy / min(seconds):.0f} %", "", ""))
    return rows


def determinism(device: torch.device, scale: Scale, root: str | None, threads: int) -> list[Row]:
    """Seconds with torch.use_deterministic_algorithms over seconds without."""
    batch = scale.batches[0]
    # As they are: a graph would go on as it was recorded.
    trainer = warm_trainer(batch, "fp32", device, scale, root, "cuda_graphs=false")

    def epoch(deterministic: bool) -> None:
        torch.use_deterministic_algorithms(deterministic)
        trainer.train_epoch(1)
        wait(device)

    with exact(threads, "fp32"):
        variants = {"with": partial(epoch, True), "without": partial(epoch, False)}
        times = take_turns(variants, scale.turns, warmup=1)
    step = 1000 * median(times.wall["with"]) / scale.steps
    figure = str(ratio(times.wall, "with", "without"))
    return [("determinism", f"batch {batch}, fp32, with / without", f"{step:.2f} ms a step with", figure, "")]


def epochs(device: torch.device, scale: Scale, root: str | None, threads: int) -> list[Row]:
    """Seconds of one epoch of CIFAR, by batch size and precision: a short epoch, times its share."""
    rows: list[Row] = []
    for batch in scale.batches:
        trainers = {name: warm_trainer(batch, name, device, scale, root) for name in ("fp32", "tf32", "bf16")}

        def epoch(name: str, trainers: dict[str, Trainer] = trainers) -> None:
            with exact(threads, name):
                trainers[name].train_epoch(1)
                wait(device)

        times = take_turns({name: partial(epoch, name) for name in trainers}, scale.turns, warmup=1)
        steps = -(-CIFAR_EXAMPLES // batch)
        for name, seconds in times.wall.items():
            whole = median(seconds) * steps / scale.steps
            figure = "" if name == "fp32" else str(ratio(times.wall, name, "fp32"))
            what = f"batch {batch}, {name}, {steps} steps (from {scale.steps} timed), / fp32"
            rows.append(("epoch", what, f"{whole:.2f} s; {EPOCHS} of them {EPOCHS * whole:.0f} s", figure, ""))
    return rows


def packing(device: torch.device, scale: Scale) -> list[Row]:
    """Steps per second in total of K processes on the device, and over those of one process alone."""
    threads = max(1, len(os.sched_getaffinity(0)) // max(scale.processes))
    settings = [*scale.model, *SETTINGS, f"optim.batch_size={scale.batches[0]}"]
    rates: dict[str, list[float]] = {str(count): [] for count in scale.processes}
    with Pool(max(scale.processes), device, settings, threads) as pool:

        def together(name: str) -> None:
            rates[name].append(pool.rate(int(name), scale.window_s))

        take_turns({name: partial(together, name) for name in rates}, scale.turns, warmup=0)
    one = str(scale.processes[0])
    return [
        (
            "packing",
            f"batch {scale.batches[0]}, {name} processes with {threads} threads each, / one",
            f"{median(rates[name]):.1f} steps/s, {per_hour(median(rates[name]), scale.batches[0]):.1f} runs/h",
            "" if name == one else str(ratio(rates, name, one)),
            "",
        )
        for name in rates
    ]


def per_hour(steps_per_second: float, batch: int) -> float:
    """Runs of CIFAR in an hour, of 160 epochs with nothing frozen or sieved."""
    return 3600 * steps_per_second / (EPOCHS * -(-CIFAR_EXAMPLES // batch))


if __name__ == "__main__":
    main()
