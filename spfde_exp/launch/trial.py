"""A short trial: how long the trainer takes per FLOP on this machine."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from spfde_exp.data import Dataset
from spfde_exp.data.specs import spec_of
from spfde_exp.machine import usable_cores
from spfde_exp.plan import build_model, make_plan
from spfde_exp.schema import Config
from spfde_exp.train.device import choose_device, exact
from spfde_exp.train.trainer import Trainer

FEW = 4  # examples of the first, careful batch
STEP_S = 0.3  # a step that takes more is tried with a smaller batch
ENOUGH_S = 0.4  # of steps of one size, but the first
WALL_S = 2.0  # for all steps, also where other processes take their share of the time
LEAST = 3  # steps of one size: the first is slow


@dataclass(frozen=True)
class _Step:
    """The fastest of some steps.

    Attributes:
        seconds: that it takes undisturbed.
        wall: seconds that it took.
        spent: seconds that all of them took, but for the first, which loads what it needs.
        pace: undisturbed, seconds per simulated FLOP.
    """

    seconds: float
    wall: float
    spent: float
    pace: float


class _Enough(Exception):
    """The steps so far tell."""


def trial_pace(config: Config, threads: int | None) -> float:
    """Seconds per simulated FLOP of a run's training steps on this device undisturbed, tried on random images.

    Starts small and grows to the run's batch, as far as a step takes no longer than `STEP_S` and all of them no longer
    than `WALL_S`. The fastest step counts; on the CPU in CPU time, which other processes do not take.

    Args:
        threads: CPU threads, None on a GPU.

    Raises:
        UserError: the device is not there.
        RuntimeError: its memory does not suffice.
    """
    device, most = choose_device(config.device), min(config.optim.batch_size, spec_of(config.dataset).train // 2)
    batch, left = min(FEW, most), WALL_S
    with exact(threads or torch.get_num_threads(), config.precision), torch.random.fork_rng(devices=[]):
        while True:
            step = _fastest(config, batch, device, left)
            left -= step.spent
            room = min(STEP_S / step.seconds, left / (LEAST * step.wall))
            larger = min(most, int(batch * room))
            if larger <= batch or larger < min(most, 2 * batch):
                return step.pace
            batch = larger


def _fastest(config: Config, batch: int, device: torch.device, left: float) -> _Step:
    """Train steps of `batch` examples until they tell enough, or take `left` seconds."""
    examples = batch * min(8, spec_of(config.dataset).train // batch)
    plain = replace(
        config,
        epochs=2,
        dataset=replace(config.dataset, subset=examples, val_fraction=0.0, test_subset=None),
        optim=replace(config.optim, batch_size=batch),
        freeze=replace(config.freeze, scheme="none", target=0.0),
        sieve=replace(config.sieve, mode="none", ratio=0.0),
        compile=False,  # which takes longer than a trial
    )
    plan = make_plan(plain)
    trainer = Trainer(plain, plan, build_model(plain), _images(plain, examples).to(device), device)
    trainer.begin()
    marks: list[tuple[float, float, float]] = []  # at the beginning of each step: wall, process and thread time

    def mark() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        marks.append((time.monotonic(), time.process_time(), time.thread_time()))
        if len(marks) > LEAST and marks[-1][0] - marks[1][0] >= min(left, ENOUGH_S if batch > FEW else 0.0):
            raise _Enough

    epoch = trainer.batches.epoch

    def marked(*arguments: Any) -> Iterator[Any]:
        for step in epoch(*arguments):
            mark()
            yield step

    trainer.batches.epoch = marked  # type: ignore[assignment,method-assign]
    trainer.start_epoch(0)
    with suppress(_Enough):
        while True:
            trainer.train_epoch(1)  # epoch 0 would be watched by the memory meter
    steps = [tuple(b - a for a, b in zip(one, two, strict=True)) for one, two in pairwise(marks)]
    wall = min(step[0] for step in steps)
    seconds = wall
    if device.type == "cpu":
        # Undisturbed, a step takes as long as its main thread works, and as all threads work side by side.
        seconds = min(max(thread, process / _at_once()) for _, process, thread in steps)
    flops = plan.prediction()["train_flops_simulated"] / (plan.epochs * examples)  # of an example
    return _Step(seconds, wall, marks[-1][0] - marks[1][0], seconds / (flops * batch))


def _at_once() -> int:
    """Threads of PyTorch that can work at the same time."""
    return min(torch.get_num_threads(), usable_cores())


def _images(config: Config, examples: int) -> Dataset:
    spec = spec_of(config.dataset)
    channels = spec.shape[0]
    x = torch.randint(256, (examples, *spec.shape), dtype=torch.uint8)
    y = torch.randint(spec.classes, (examples,))
    return Dataset(
        config.dataset.name,
        x,
        y,
        x[:1],
        y[:1],
        num_classes=spec.classes,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        scale=255.0,
        checksum="random",
    )
