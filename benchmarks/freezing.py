"""What freezing saves in seconds: an epoch with 0, a third, two thirds and all of the blocks frozen.

python benchmarks/freezing.py [--turns 8] [--steps 2] [--width 2] [--batch 32] [--threads 1] [--data DIR]

One turn is one call of the product's `Trainer.train_epoch` per depth, over `--steps` batches: augmentation,
masks at 90 %, FLOP hooks and the sieve's bookkeeping included, all as in a run whose plan froze these blocks
an epoch before.
"""

import argparse
from functools import partial

import torch
from _paired import print_table, ratio, take_turns, verdict
from _workload import common_options, images, machine, trainer_for

from spfde_exp.cost.flops import epoch_flops
from spfde_exp.train.device import exact

TWO_THIRDS_MOST = 0.60


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--turns", type=int, default=8, help="at least 6")
    parser.add_argument("--steps", type=int, default=2, help="batches in an epoch")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    data = images(arguments.steps * arguments.batch, arguments.data)
    overrides = [
        f"model={arguments.model}", f"model.width={arguments.width}", f"optim.batch_size={arguments.batch}",
        "method=mest_ems", "sparsity=0.9", "freeze=none", "sieve=none",
    ]  # fmt: skip
    with exact(arguments.threads, "fp32"):
        blocks = len(trainer_for(overrides, data, device).blocks)
        variants, flops = {}, {}
        for depth in (0, blocks // 3, 2 * blocks // 3, blocks):
            trainer = trainer_for(overrides, data, device, frozen=depth)
            for epoch in (0, 1):
                trainer.start_epoch(epoch)
            variants[str(depth)] = partial(trainer.train_epoch, 2)
            # Masked weights cost the hardware what others do.
            flops[str(depth)] = epoch_flops(trainer.plan.layers, {}, depth, trainer.plan.sieve.examples)
        title = (
            f"an epoch of {arguments.steps} steps of {arguments.model} width {arguments.width:g}, "
            f"batch {arguments.batch}; {machine(device)}"
        )
        times = take_turns(variants, arguments.turns, warmup=1)
    clocks = [("wall", times.wall)] + ([("CPU time", times.cpu)] if device.type == "cpu" else [])
    rows = [("frozen", "clock", "time / unfrozen [95 %]", "target", "seconds, least", "simulated FLOPs / unfrozen")]
    for name in list(variants)[1:]:
        for clock, seconds in clocks:
            figure = ratio(seconds, name, "0")
            target = verdict(figure.median, TWO_THIRDS_MOST) if int(name) == 2 * blocks // 3 else ""
            least = f"{min(seconds[name]):.3f} / {min(seconds['0']):.3f}"
            saved = f"{flops[name] / flops['0']:.3f}"
            rows.append((f"{name} of {blocks}", clock, str(figure), target, least, saved))
    print_table(title, rows)


if __name__ == "__main__":
    main()
