"""What sparsity, freezing and sieving save together: seconds of a whole run's average epoch, by the sparse engine.

python benchmarks/savings.py [--sparsity 0.9,0.95,0.98] [--freeze 0.15] [--sieve 0.15] [--images 640] [--turns 6]
                             [--model resnet32] [--width 2] [--batch 32] [--threads 1] [--data DIR]

Of each plan (method=mest_ems, recipe=cifar100) one epoch of every stage is timed, which is what equally many blocks at
rest, equally dense layers and equally many examples have in common; stages are weighted by their epochs. Compared with
dense training by PyTorch, of the same turn:

sparsity   engine=sparse, nothing frozen or sieved
freezing   dense training, engine=dense, with frozen blocks
sieving    dense training, engine=dense, on the partial set
product    the three ratios multiplied
all three  one plan with all of it, engine=sparse

Epochs are the product's own `Trainer.train_epoch`, after all changes of structure that the plan has before them, in
another order in each turn. FLOPs are the plan's. Times faster is seconds of dense training over seconds.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from _paired import Ratio, clocks, interval, print_table, take_shuffled
from _steps import batches_of
from _workload import common_options, images, machine, plan_of, size, trainer_for

from spfde_exp.data import Dataset
from spfde_exp.run_plan import RunPlan
from spfde_exp.train.device import exact

CPU = torch.device("cpu")
DENSE, NEITHER = ["method=dense", "sparsity=0"], ["freeze=none", "sieve=none"]
Seconds = Mapping[str, Sequence[float]]


class Way(NamedTuple):
    """A way to train, as the command line has it, and its plan."""

    overrides: list[str]
    plan: RunPlan

    def flops(self) -> float:
        """Training FLOPs, of those of dense training."""
        prediction = self.plan.prediction()
        return float(prediction["train_flops"]) / float(prediction["train_flops_dense"])

    def stages(self) -> dict[str, tuple[int, float]]:
        """Name of a stage -> its last epoch, and the share of all epochs that it has."""
        plan = self.plan
        keys = [f"{' '.join(self.overrides)} {state} {plan.sieve.trained(e)}" for e, state in enumerate(plan.states)]
        last = {key: epoch for epoch, key in enumerate(keys)}
        return {key: (last[key], count / plan.epochs) for key, count in Counter(keys).items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--sparsity", default="0.9,0.95,0.98")
    parser.add_argument("--freeze", default="0.15", help="share of the FLOPs that freezing saves")
    parser.add_argument("--sieve", default="0.15", help="share of the examples that are left out")
    parser.add_argument("--images", type=int, default=640, help="training examples before sieving")
    parser.add_argument("--turns", type=int, default=6, help="at least 6")
    arguments = parser.parse_args()
    network = [f"model={arguments.model}", f"model.width={arguments.width}", f"optim.batch_size={arguments.batch}"]
    freeze, sieve = f"freeze={arguments.freeze}", f"sieve={arguments.sieve}"
    with exact(arguments.threads, "fp32"):
        data = images(arguments.images, arguments.data)
        subset = f"dataset.subset={len(data.train_y)}"

        def way(*overrides: str) -> Way:
            return Way([*network, *overrides], plan_of([*network, subset, *overrides]))

        dense = way(*DENSE, *NEITHER)
        alone = {"freezing": way(*DENSE, freeze, "sieve=none"), "sieving": way(*DENSE, "freeze=none", sieve)}
        by_sparsity = {}
        for sparsity in arguments.sparsity.split(","):
            sparse = ["method=mest_ems", f"sparsity={sparsity}", "engine=sparse"]
            by_sparsity[sparsity] = {"sparsity": way(*sparse, *NEITHER), **alone}, way(*sparse, freeze, sieve)
        ways = [
            dense,
            *alone.values(),
            *(w for parts, whole in by_sparsity.values() for w in (parts["sparsity"], whole)),
        ]
        variants = {
            name: partial(epoch_of, w.overrides, data, last) for w in ways for name, (last, _) in w.stages().items()
        }
        title = f"an average epoch of {len(data.train_y)} images, {size(arguments)}; {machine(CPU)}"
        times = clocks(take_shuffled({name: make() for name, make in variants.items()}, arguments.turns), "cpu")
    rows: list[tuple[str, ...]] = [
        ("sparsity", "saves", "clock", "FLOPs saved %", "time saved %", "times faster [95 %]")
    ]
    for sparsity, (parts, whole) in by_sparsity.items():
        for clock, seconds in times.items():
            of_parts = {name: of_dense(seconds, part, dense) for name, part in parts.items()}
            of_parts["product"] = [prod(turn) for turn in zip(*of_parts.values(), strict=True)]
            of_parts["all three"] = of_dense(seconds, whole, dense)
            flops = {name: part.flops() for name, part in parts.items()}
            flops |= {"product": prod(flops.values()), "all three": whole.flops()}
            rows += [row(sparsity, name, clock, flops[name], ratios) for name, ratios in of_parts.items()]
    print_table(title, rows)


def epoch_of(overrides: Sequence[str], data: Dataset, epoch: int) -> Callable[[], object]:
    """What trains `epoch` of such a run again and again; of the epochs before it, only what they change is done."""
    trainer = trainer_for(overrides, data, CPU)
    trainer.start_epoch(0)
    trainer.forward.prepare(0)
    images, classes, _ = batches_of(trainer)[0]
    trainer.train_step(trainer.at(0, 0, 1), images, classes)  # updates rank its gradients
    for earlier in range(1, epoch + 1):
        trainer.start_epoch(earlier)
    return partial(trainer.train_epoch, epoch)


def of_dense(seconds: Seconds, way: Way, dense: Way) -> list[float]:
    """Per turn, seconds of an average epoch, of one of dense training."""
    (whole,) = dense.stages()
    stages = [[share * s / d for s, d in zip(seconds[name], seconds[whole], strict=True)]
              for name, (_, share) in way.stages().items()]  # fmt: skip
    return [sum(turn) for turn in zip(*stages, strict=True)]


def row(sparsity: str, name: str, clock: str, flops: float, ratios: Sequence[float]) -> tuple[str, ...]:
    """A line of the table."""
    faster: Ratio = interval([1 / ratio for ratio in ratios])
    return sparsity, name, clock, f"{100 * (1 - flops):.2f}", f"{100 * (1 - 1 / faster.median):.2f}", str(faster)


if __name__ == "__main__":
    main()
