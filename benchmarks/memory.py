"""SpFDE Figure 4 measured: peak memory of a training step, its prediction, and what the paper counts.

python benchmarks/memory.py [--width 2] [--batch 32] [--threads 1] [--device cpu] [--data DIR]

measured    the most bytes of tensors alive at once in one step of `Trainer.train_epoch`, on any device
predicted   the same before anything is trained, by what autograd keeps when PyTorch executes a step
engine      measured, by engine=sparse (on a CPU): its layout has borders, and weights are dense tensors there too
counted     Figure 4's: weights, activations and the gradients of both; what is masked or frozen takes less

First every depth of freezing at 90 % sparsity, and a step of dense training. Then the runs of sweeps/F4.yaml over their
epochs: masks are simulated, so that sparsity saves nothing that is measured, and freezing does.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from _paired import print_table, verdict
from _peaks import measured_peak, predicted_peak
from _workload import common_options, images, machine, plan_of, settings, size, trainer_for

from spfde_exp.launch.sweepfile import load_sweep
from spfde_exp.train.device import exact

PEAK_WITHIN = 0.15


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    data = images(2 * arguments.batch, arguments.data)
    with exact(arguments.threads, "fp32"):
        sparse = settings(arguments, "sieve=none")
        trainer = trainer_for(sparse, data, device)
        dense = trainer_for([*sparse, "method=dense", "sparsity=dense"], data, device)
        measure = partial(measured_peak, dataset=data, device=device)
        peaks = {"dense": measure([*sparse, "method=dense", "sparsity=dense"], frozen=0)}
        predicted, by_engine = {"dense": predicted_peak(dense, 0)}, dict[str, int]()
        for depth in range(len(trainer.blocks) + 1):
            peaks[str(depth)] = measure(sparse, frozen=depth)
            predicted[str(depth)] = predicted_peak(trainer, depth)
            if device.type == "cpu":
                by_engine[str(depth)] = measure([*sparse, "engine=sparse"], frozen=depth)
        title = f"peak of a step, {size(arguments)}"
    rows = [("frozen", "measured, MB", "/ unfrozen", "predicted, MB", "predicted / measured", "target", "engine, MB")]
    for name, peak in peaks.items():
        share = predicted[name] / peak
        target = f"off by {verdict(abs(share - 1), PEAK_WITHIN)}"
        engine = f"{by_engine[name] / 1e6:.1f}" if name in by_engine else "none"
        rows.append((name, f"{peak / 1e6:.1f}", f"{peak / peaks['0']:.3f}", f"{predicted[name] / 1e6:.1f}",
                     f"{share:.3f}", target, engine))  # fmt: skip
    print_table(f"{title}; {machine(device)}", rows)
    print_table("Figure 4, MB: over the epochs, and least", list(figure_4(settings(arguments)[:3], peaks, predicted)))


def figure_4(size: Sequence[str], peaks: dict[str, int], predicted: dict[str, int]) -> Iterator[tuple[str, ...]]:
    """Lines of the second table."""
    yield "run", *(f"{what}, {which}" for what in ("measured", "predicted", "counted") for which in ("avg.", "min."))
    for run in load_sweep("F4").runs():
        plan = plan_of([*(f"{key}={value}" for key, value in run.items()), *size])
        depths = [str(depth) for depth in plan.freeze.frozen]
        figures: list[float] = []
        for source in (peaks, predicted):
            values = [source[depth] for depth in depths]
            figures += [sum(values) / len(values), min(values)]
        counted = plan.prediction()
        figures += [counted["memory_avg_bytes"], counted["memory_min_bytes"]]
        name = " ".join(f"{key}={run[key]}" for key in ("method", "sparsity", "freeze"))
        yield name, *(f"{figure / 1e6:.1f}" for figure in figures)


if __name__ == "__main__":
    main()
