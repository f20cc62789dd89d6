"""Does the fast path of frozen blocks train the same network? The same steps with freeze.fold=true and false, float32.

python benchmarks/equal.py [--steps 50] [--before 10] [--width 2] [--batch 32] [--threads 1] [--device cpu] [--data DIR]

First `--before` epochs of `--steps` batches with nothing frozen, at the first learning rate. From there on each path
trains one epoch, as in the first epoch in which Table A4's earliest plan (recipe=cifar100, from epoch 60) has so many
blocks frozen: distance of all weights and biases, relative to their norm. "an ulp" is that of the plain path from
itself, when what the frozen blocks return is moved by one unit in the last place at random: what any rounding does to
these steps. Exit status 1 if the folded path is more than 1e-4 away, and ten times as far as an ulp takes it.
"""

import argparse
import copy
import math
import sys
from functools import partial

import torch
from _paired import print_table, verdict
from _workload import common_options, images, machine, settings, size, trainer_for

from spfde_exp.data import Dataset
from spfde_exp.train.device import exact
from spfde_exp.train.forward import FOLDED_FROM
from spfde_exp.train.trainer import Trainer

WEIGHTS_MOST, ULPS_MOST = 1e-4, 10
FIRST = 60  # epoch of the first freeze


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--steps", type=int, default=50, help="batches in an epoch")
    parser.add_argument("--before", type=int, default=10, help="epochs before anything is frozen")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    data = images(arguments.steps * arguments.batch, arguments.data)
    rows = [("frozen", "folded", "epoch", "learning rate", "distance / norm", "an ulp", "target")]
    with exact(arguments.threads, "fp32"):
        early = trainer_for(settings(arguments, "sieve=none"), data, device)
        early.start_epoch(0)
        for _ in range(arguments.before):
            early.train_epoch(0)
        blocks = len(early.blocks)
        wrong = False
        for depth in sorted({1, blocks // 3, math.ceil(FOLDED_FROM * blocks), blocks}):
            epoch = FIRST + 5 * (depth - 1)
            run = partial(after, arguments, data, early, depth, epoch)
            plain, fast, moved = run(), run(fold=True), run(moved=True)
            distance, ulp = (float((vector(w) - vector(plain)).norm() / vector(plain).norm()) for w in (fast, moved))
            wrong |= distance > max(WEIGHTS_MOST, ULPS_MOST * ulp)
            figures = f"{plain.optimizer.lr:.3f}", f"{distance:.1e}", f"{ulp:.1e}", verdict(distance, WEIGHTS_MOST)
            folded = "yes" if fast.forward.prefix else "no"
            rows.append((f"{depth} of {blocks}", folded, str(epoch), *figures))
        title = f"{arguments.steps} steps of {size(arguments)}"
    print_table(f"{title}; {machine(device)}", rows)
    if wrong:
        sys.exit("the folded path trains another network")


def after(
    arguments: argparse.Namespace,
    data: Dataset,
    early: Trainer,
    depth: int,
    epoch: int,
    fold: bool = False,
    moved: bool = False,
) -> Trainer:
    """A trainer that went on from `early` with one epoch, `depth` blocks frozen."""
    trainer = trainer_for(settings(arguments, "sieve=none"), data, early.device, depth)
    trainer.forward.fold = fold
    trainer.load_state_dict(copy.deepcopy(early.state_dict(epoch)))
    if moved:
        _, members = trainer.blocks[depth - 1]
        trainer.model.get_submodule(members[-1]).register_forward_hook(lambda _, __, out: by_an_ulp(out))
    trainer.start_epoch(epoch)
    trainer.train_epoch(epoch)
    return trainer


def by_an_ulp(x: torch.Tensor) -> torch.Tensor:
    """`x` with each number moved up, down or not at all."""
    return x * (1 + torch.finfo(x.dtype).eps * torch.randint_like(x, -1, 2))


def vector(trainer: Trainer) -> torch.Tensor:
    """All parameters."""
    return torch.cat([parameter.detach().flatten().double() for parameter in trainer.model.parameters()])


if __name__ == "__main__":
    main()
