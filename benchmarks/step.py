"""What masks and sieving add to one training step.

python benchmarks/step.py [--pairs 15] [--width 2] [--batch 32] [--threads 1] [--device cpu] [--data DIR]

bare         the hand-written dense step: zero_grad, forward, cross entropy, backward,
             torch.optim.SGD(foreach=True), under torch's default settings
bare, exact  the same, under torch.use_deterministic_algorithms
masked       what `Trainer.train_epoch` does per step at 90 % sparsity: also masked gradients, one parameter
             group per block, deterministic kernels, FLOP hooks, running loss and accuracy
sieve        the same with `Sieve.observe`

Model, batches, memory layout and optimiser settings are equal; making the batch is left out of all of them.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from _paired import Turns, print_table, ratio, take_turns, verdict
from _workload import common_options, images, machine, trainer_for, wait
from torch import Tensor

from spfde_exp.cost.meter import FlopMeter
from spfde_exp.train.device import exact
from spfde_exp.train.trainer import Trainer

# of, to, and the most that the ratio may be; None has no target
PAIRS = (("masked", "bare", 1.05), ("sieve", "masked", 1.01), ("masked", "bare, exact", None))

Batch = tuple[Tensor, Tensor, Tensor]


class Bare:
    """The dense step as one writes it by hand."""

    def __init__(self, trainer: Trainer) -> None:
        optim = trainer.config.optim
        self.model = trainer.model.train()
        self.sgd = torch.optim.SGD(
            self.model.parameters(),
            lr=optim.lr,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            nesterov=optim.nesterov,
            foreach=True,
        )

    def __call__(self, batch: Batch) -> None:
        x, y, _ = batch
        self.sgd.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.sgd.step()


class Product:
    """The step of `Trainer.train_epoch`, with or without the sieve's bookkeeping."""

    def __init__(self, trainer: Trainer, sieve: bool) -> None:
        trainer.start_epoch(0)
        trainer.model.train()
        self.trainer, self.sieve, self.at = trainer, sieve, trainer.at(0, 0, 1)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=trainer.device)
        self.right = torch.zeros((), dtype=torch.int64, device=trainer.device)
        self.meter = FlopMeter(trainer.model, trainer.plan.layers).__enter__()

    def __call__(self, batch: Batch) -> None:
        x, y, indices = batch
        loss, correct, _ = self.trainer.train_step(self.at, x, y)
        if self.sieve:
            self.trainer.sieve.observe(indices, correct)
        self.loss_sum += loss * len(y)
        self.right += correct.sum()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--pairs", type=int, default=15, help="turns; at least 6")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    with exact(arguments.threads, "fp32"):
        size = f"{arguments.model} width {arguments.width:g}, batch {arguments.batch}"
        title = f"one step of {size}; {machine(device)}"
        times = measure(arguments, device)
    clocks = [("wall", times.wall)] + ([("CPU time", times.cpu)] if device.type == "cpu" else [])
    rows = [("ratio", "clock", "median [95 %]", "target", "ms of one step, least")]
    for of, to, most in PAIRS:
        for clock, seconds in clocks:
            figure = ratio(seconds, of, to)
            least = f"{1000 * min(seconds[of]):.1f} / {1000 * min(seconds[to]):.1f}"
            target = verdict(figure.median, most) if most else "without what determinism costs"
            rows.append((f"{of} / {to}", clock, str(figure), target, least))
    print_table(title, rows)


def measure(arguments: argparse.Namespace, device: torch.device) -> Turns:
    """Time all variants on the same batches."""
    data = images(4 * arguments.batch, arguments.data)
    overrides = [
        f"model={arguments.model}", f"model.width={arguments.width}", f"optim.batch_size={arguments.batch}",
        "method=mest_ems", "sparsity=0.9", "freeze=none", "sieve=0.15",
    ]  # fmt: skip
    make = partial(trainer_for, overrides, data, device)
    everything = torch.arange(len(data.train_y), device=device)
    batches: list[Batch] = list(make().batches.epoch(everything, torch.Generator()))
    steps: dict[str, tuple[Callable[[Batch], None], bool]] = {
        "bare": (Bare(make()), False),
        "masked": (Product(make(), sieve=False), True),
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

    return take_turns({name: partial(one, name) for name in steps}, arguments.pairs)


if __name__ == "__main__":
    main()
