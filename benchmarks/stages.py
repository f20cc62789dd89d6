"""What freezing and sieving save of a whole run's seconds: SpFDE Tables A11 and A12 on the machine at hand.

python benchmarks/stages.py [--only freeze|sieve] [--turns 8] [--images 3200] [--freeze-images N]
                            [--width 2] [--batch 32] [--threads 1] [--device cpu] [--data DIR]

freeze  the plan of each target of Table A11 tells how many epochs have how many frozen blocks. One turn times an
        epoch of every such depth; the depths are weighted by their epochs.
sieve   one turn trains an epoch of one network with each part of Table A12 left out, two steps of one, then of the
        next, `Sieve.observe` included; a step counts as the median over the epoch, and what begins and ends the epoch
        as it was. The exchange of examples is timed by itself, and added as often as a run has one.

Epochs are the product's own `Trainer.train_epoch` at 90 % sparsity, on a class-balanced subset, in another order in
each turn. Left out is what a run does in the epochs that freeze anew: fold the blocks (0.05 s on a CPU), on a GPU
record the step again, and measure the memory of one step.
Time saved is 1 - seconds of the run / seconds of the run that saves nothing, both of the same turn. The paper's ratio
is made of what it prints. Images that make no multiple of 20 batches let rounding to batches decide.
"""

import argparse
import copy
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from _lockstep import epochs_of, lockstep
from _paired import Turns, at_least, clocks, interval, print_table, ratio, take_shuffled, take_turns
from _steps import batches_of
from _workload import common_options, images, machine, plan_of, resting, settings, size, trainer_for, wait

from analysis.papers import printed_values
from spfde_exp.cost.flops import epoch_flops
from spfde_exp.train.device import exact
from spfde_exp.train.rng import generator
from spfde_exp.train.trainer import Trainer

FREEZE_LEAST = 1.0
STEPS, FEWEST = 2, 8  # in a slice, and in an epoch of which a quarter may go
SIEVE_LEAST = {0.1: 0.93, 0.15: 0.93, 0.2: 0.97, 0.25: 0.97}
HEADING = ("FLOPs reduction asked", "clock", "FLOPs saved %", "time saved % [95 %]", "saved / FLOPs [95 %]",
           "paper's", "target")  # fmt: skip
Seconds = Mapping[str, Sequence[float]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    common_options(parser)
    parser.add_argument("--turns", type=int, default=8, help="at least 6")
    parser.add_argument("--images", type=int, default=3200, help="training examples before sieving")
    parser.add_argument("--freeze-images", type=int, help="the same for freezing; default 640, on a GPU as --images")
    parser.add_argument("--only", choices=("freeze", "sieve"), help="one of the two tables")
    arguments = parser.parse_args()
    if arguments.images < FEWEST * arguments.batch:
        parser.error(f"--images {arguments.images} is less than {FEWEST} batches of {arguments.batch}; give more")
    with exact(arguments.threads, "fp32"):
        if arguments.only != "sieve":
            freezing(arguments, torch.device(arguments.device))
        if arguments.only != "freeze":
            sieving(arguments, torch.device(arguments.device))


def printed(table: str, key: str) -> dict[str, float]:
    """Share of FLOPs that a column of Table A11 or A12 saves -> share of the time that the paper got back."""
    rows = [row for row in printed_values(table) if row["quantity"] == "acceleration"]
    return {row[key]: float(row["value"]) * float(row["unit"]) / float(row[key]) for row in rows}


def freezing(arguments: argparse.Namespace, device: torch.device) -> None:
    """Table A11."""
    count = arguments.freeze_images or (arguments.images if device.type == "cuda" else 640)
    data = images(count, arguments.data)
    overrides = settings(arguments, "sieve=none")
    papers = printed("A11", "freeze.target")
    plans = {target: plan_of([*overrides, f"freeze={target}"]) for target in papers}
    depths = sorted({depth for plan in plans.values() for depth in plan.freeze.frozen})
    variants = {str(depth): resting(overrides, data, device, depth) for depth in depths}
    title = f"Table A11, epochs of {len(data.train_y)} images, {size(arguments)}; {machine(device)}"
    times = clocks(take_shuffled(variants, arguments.turns), device.type)
    rows: list[tuple[str, ...]] = [HEADING]
    for target, plan in plans.items():
        stages = {str(depth): epochs / plan.epochs for depth, epochs in Counter(plan.freeze.frozen).items()}
        for clock, seconds in times.items():
            saved = saved_time(seconds, stages)
            rows.append(row(target, clock, plan.freeze.reduction(), saved, papers[target], FREEZE_LEAST))
    print_table(title, rows)
    table: list[tuple[str, ...]] = [
        ("frozen", "time / unfrozen [95 %]", "simulated FLOPs", *(f"epochs at {target}" for target in plans))
    ]
    # Masked weights cost the hardware what others do.
    layers = next(iter(plans.values())).layers
    flops = {depth: epoch_flops(layers, {}, depth, 1) / epoch_flops(layers, {}, 0, 1) for depth in depths}
    for depth in depths:
        epochs = [str(plan.freeze.frozen.count(depth)) for plan in plans.values()]
        table.append((str(depth), str(ratio(times["wall"], str(depth), "0")), f"{flops[depth]:.3f}", *epochs))
    print_table("its stages, wall", table)


def sieving(arguments: argparse.Namespace, device: torch.device) -> None:
    """Table A12."""
    data = images(arguments.images, arguments.data)
    papers = printed("A12", "sieve.ratio")
    whole = trainer_for(settings(arguments, "sieve=none"), data, device)
    trainers = {"0": whole}
    for removed in papers:
        trainers[removed] = beside(whole, trainer_for(settings(arguments, f"sieve={removed}"), data, device))
    plans = {removed: trainers[removed].plan for removed in papers}
    title = f"Table A12, {len(data.train_y)} images, {size(arguments)}; {machine(device)}"
    times = clocks(side_by_side(trainers, arguments.turns), device.type)
    rows: list[tuple[str, ...]] = [HEADING]
    for removed, plan in plans.items():
        stages = {removed: 1.0, exchange(removed): len(plan.sieve_updates()) / plan.epochs}
        for clock, seconds in times.items():
            saved, share = saved_time(seconds, stages), plan.sieve.reduction([1.0] * plan.epochs)
            rows.append(row(removed, clock, share, saved, papers[removed], SIEVE_LEAST[float(removed)]))
    print_table(title, rows)


def beside(one: Trainer, sieved: Trainer) -> Trainer:
    """A trainer of the network of `one`, as where tensors lie costs a few percent, on the examples of `sieved`."""
    both = copy.copy(one)
    both.sieve, both.plan, both.batches = sieved.sieve, sieved.plan, copy.copy(one.batches)
    return both


def side_by_side(trainers: Mapping[str, Trainer], turns: int) -> Turns:
    """Seconds of an epoch of each trainer, and of its exchange of examples, by turns."""
    first = trainers["0"]
    for epoch in (0, 1):
        first.start_epoch(epoch)
    first.forward.prepare(0)
    for batch in batches_of(first)[:3]:
        first.train_step(first.at(1, 0, 1), *batch[:2])
    times = Turns({}, {})
    for turn in range(turns):
        names = random.Random(turn).sample(list(trainers), len(trainers))
        order = {name: trainers[name] for name in names}
        both = lockstep(order, 2, STEPS)
        exchanges = take_turns({exchange(name): partial(update, trainer) for name, trainer in order.items()}, 1, 0)
        for kept, slices, exchanged in zip(times, both, exchanges, strict=True):
            for name, seconds in epochs_of(slices, "0").items():
                kept.setdefault(name, []).append(seconds)
                kept.setdefault(exchange(name), []).extend(exchanged[exchange(name)])
    return times


def exchange(removed: str) -> str:
    """Name of the variant that only exchanges examples."""
    return f"exchange at {removed}"


def update(trainer: Trainer) -> None:
    """Exchange examples, as `Trainer.train_epoch` does at the end of an interval."""
    trainer.sieve.update(generator(0, "sieve", 0))
    wait(trainer.device)


def saved_time(seconds: Seconds, stages: Mapping[str, float]) -> list[float]:
    """Per turn, the share of a run's time that is saved, of `stages`: a variant -> its times per epoch."""
    runs = zip(*([share * s for s in seconds[name]] for name, share in stages.items()), strict=True)
    return [1 - sum(run) / whole for run, whole in zip(runs, seconds["0"], strict=True)]


def row(asked: str, clock: str, flops: float, saved: Sequence[float], paper: float, least: float) -> tuple[str, ...]:
    """A line of the table; `flops` is the share that is saved by the plan."""
    share, figure = interval([100 * s for s in saved]), interval([s / flops for s in saved])
    told = f"{share.median:.2f} [{share.low:.2f}, {share.high:.2f}]"
    return asked, clock, f"{100 * flops:.2f}", told, str(figure), f"{paper:.3f}", at_least(figure.median, least)


if __name__ == "__main__":
    main()
