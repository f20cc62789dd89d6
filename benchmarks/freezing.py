"""What freezing saves in seconds and bytes: an epoch with 0, a third, two thirds and all of the blocks frozen.

python benchmarks/freezing.py [--turns 8] [--steps N] [--width 2] [--batch 32] [--threads 1] [--device cpu] [--data DIR]

One turn is one call of the product's `Trainer.train_epoch` per depth, over `--steps` batches: augmentation,
masks at 90 %, FLOP hooks and the sieve's bookkeeping included, all as in a run whose plan froze these blocks
an epoch before. The second table takes the epoch with two thirds frozen apart, by clocks around its parts; dropping
the last gradients counts as prefix. The third holds the peak of live tensor bytes against its prediction.
"""

import argparse
from collections.abc import Sequence
from functools import partial

import torch
from _paired import clocks, interval, median, print_table, ratio, take_shuffled, verdict
from _parts import PARTS, Parts
from _peaks import measured_peak, predicted_peak
from _workload import common_options, images, machine, plan_of, resting, settings, size, trainer_for

from spfde_exp.cost.flops import epoch_flops
from spfde_exp.data import Dataset
from spfde_exp.train.device import exact

TWO_THIRDS_MOST = 0.50
PEAK_WITHIN = 0.15


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--turns", type=int, default=8, help="at least 6")
    parser.add_argument("--steps", type=int, help="batches in an epoch, at least 2; default 2, on a GPU 60")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    # The first two of an epoch are not played from graphs.
    steps = arguments.steps or (60 if device.type == "cuda" else 2)
    data = images(steps * arguments.batch, arguments.data)
    with exact(arguments.threads, "fp32"):
        blocks = len(plan_of(settings(arguments, "sieve=none")).freeze.blocks)
        depths = (0, blocks // 3, 2 * blocks // 3, blocks)
        seconds(arguments, data, device, depths)
        parts(arguments, data, device, depths[2])
        memory(arguments, data, device, depths)


def seconds(arguments: argparse.Namespace, data: Dataset, device: torch.device, depths: Sequence[int]) -> None:
    """Epochs of all depths against the unfrozen one."""
    overrides = settings(arguments, "sieve=none")
    layers = plan_of(overrides).layers
    title = f"an epoch of {len(data.train_y) // arguments.batch} steps of {size(arguments)}; {machine(device)}"
    times = take_shuffled({str(d): resting(overrides, data, device, d) for d in depths}, arguments.turns)
    rows = [("frozen", "clock", "time / unfrozen [95 %]", "target", "seconds, least", "simulated FLOPs / unfrozen")]
    for depth in depths[1:]:
        # Masked weights cost the hardware what others do.
        flops = epoch_flops(layers, {}, depth, 1) / epoch_flops(layers, {}, 0, 1)
        for clock, taken in clocks(times, device.type).items():
            figure = ratio(taken, str(depth), "0")
            target = verdict(figure.median, TWO_THIRDS_MOST) if depth == depths[2] else ""
            least = f"{min(taken[str(depth)]):.3f} / {min(taken['0']):.3f}"
            rows.append((f"{depth} of {depths[-1]}", clock, str(figure), target, least, f"{flops:.3f}"))
    print_table(title, rows)


def parts(arguments: argparse.Namespace, data: Dataset, device: torch.device, frozen: int) -> None:
    """What the seconds of an epoch with `frozen` blocks at rest are spent on, and of one with none."""
    taken: dict[str, list[dict[str, float]]] = {"0": [], str(frozen): []}

    def variant(depth: str) -> partial[None]:
        trainer = trainer_for(settings(arguments, "sieve=none"), data, device, int(depth))
        for epoch in (0, 1):
            trainer.start_epoch(epoch)
        trainer.train_epoch(2)
        return partial(measure, Parts(trainer), taken[depth])

    def measure(timed: Parts, into: list[dict[str, float]]) -> None:
        into.append(timed.epoch(2))

    take_shuffled({depth: variant(depth) for depth in taken}, arguments.turns, warmup=0)
    none, some = taken["0"], taken[str(frozen)]
    steps = len(data.train_y) / arguments.batch
    rows: list[tuple[str, ...]] = [
        ("part", "ms a step, unfrozen", "ms a step", "share of the epoch [95 %]", "of the unfrozen epoch [95 %]")
    ]
    for part in PARTS:
        if not any(turn[part] for turn in [*none, *some]):
            continue  # no graphs here
        milliseconds = [f"{1000 * median([turn[part] for turn in turns]) / steps:.1f}" for turns in (none, some)]
        share = interval([turn[part] / sum(turn.values()) for turn in some])
        whole = interval([turn[part] / sum(other.values()) for turn, other in zip(some, none, strict=True)])
        rows.append((part, *milliseconds, str(share), str(whole)))
    print_table(f"where an epoch with {frozen} blocks frozen goes, wall", rows)


def memory(arguments: argparse.Namespace, data: Dataset, device: torch.device, depths: Sequence[int]) -> None:
    """Peak of live tensor bytes of a step."""
    overrides = settings(arguments, "sieve=none")
    trainer = trainer_for(overrides, data, device)
    rows = [("frozen", "peak, MB", "/ unfrozen", "predicted, MB", "predicted / measured", "target")]
    peaks = {depth: measured_peak(overrides, data, device, depth) for depth in depths}
    for depth, peak in peaks.items():
        predicted = predicted_peak(trainer, depth)
        error = abs(predicted / peak - 1)
        figures = f"{peak / 1e6:.1f}", f"{peak / peaks[0]:.3f}", f"{predicted / 1e6:.1f}", f"{predicted / peak:.3f}"
        rows.append((f"{depth} of {depths[-1]}", *figures, f"off by {verdict(error, PEAK_WITHIN)}"))
    print_table("peak of live tensor bytes in a training step", rows)


if __name__ == "__main__":
    main()
