"""Do frozen blocks with folded batch norm train the same network? The same steps with and without, in float32.

python benchmarks/equal.py [--steps 50] [--before 4] [--width 2] [--batch 32] [--threads 1] [--device cpu] [--data DIR]

First `--before` epochs of `--steps` batches with nothing frozen, at the first learning rate. From there on each path
trains one epoch, as in the first epoch in which Table A4's earliest plan (recipe=cifar100, from epoch 60) has so many
blocks frozen: distance of all weights and biases, relative to their norm. Exit status 1 if it is more than 1e-4.
"""

import argparse
import copy
import sys

import torch
from _paired import print_table, verdict
from _workload import common_options, images, machine, settings, trainer_for

from spfde_exp.data import Dataset
from spfde_exp.train.device import exact
from spfde_exp.train.trainer import Trainer

WEIGHTS_MOST = 1e-4
FIRST = 60  # epoch of the first freeze


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--steps", type=int, default=50, help="batches in an epoch")
    parser.add_argument("--before", type=int, default=4, help="epochs before anything is frozen")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    data = images(arguments.steps * arguments.batch, arguments.data)
    rows = [("frozen", "epoch", "learning rate", "distance / norm", "target")]
    with exact(arguments.threads, "fp32"):
        early = trainer_for(settings(arguments, "sieve=none"), data, device)
        early.start_epoch(0)
        for _ in range(arguments.before):
            early.train_epoch(0)
        blocks = len(early.blocks)
        worst = 0.0
        for depth in sorted({1, blocks // 3, 2 * blocks // 3, blocks}):
            epoch = FIRST + 5 * (depth - 1)
            folded, plain = (after(arguments, data, early, depth, epoch, fold) for fold in (True, False))
            distance = float((vector(folded) - vector(plain)).norm() / vector(plain).norm())
            worst = max(worst, distance)
            rate = f"{folded.optimizer.lr:.3f}"
            rows.append((f"{depth} of {blocks}", str(epoch), rate, f"{distance:.1e}", verdict(distance, WEIGHTS_MOST)))
        title = f"{arguments.steps} steps of {arguments.model} width {arguments.width:g}, batch {arguments.batch}"
    print_table(f"{title}; {machine(device)}", rows)
    if worst > WEIGHTS_MOST:
        sys.exit("the folded path trains another network")


def after(arguments: argparse.Namespace, data: Dataset, early: Trainer, depth: int, epoch: int, fold: bool) -> Trainer:
    """A trainer that went on from `early` with one epoch, `depth` blocks frozen."""
    trainer = trainer_for(settings(arguments, "sieve=none"), data, early.device, depth)
    trainer.forward.fold = fold
    trainer.load_state_dict(copy.deepcopy(early.state_dict(epoch)))
    trainer.start_epoch(epoch)
    trainer.train_epoch(epoch)
    assert (trainer.forward.prefix is not None) == fold
    return trainer


def vector(trainer: Trainer) -> torch.Tensor:
    """All parameters."""
    return torch.cat([parameter.detach().flatten().double() for parameter in trainer.model.parameters()])


if __name__ == "__main__":
    main()
