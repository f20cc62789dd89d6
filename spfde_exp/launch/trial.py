"""A short trial: how long the trainer takes per FLOP on this machine."""

from dataclasses import replace

import torch

from spfde_exp.data import Dataset
from spfde_exp.data.specs import SPECS
from spfde_exp.plan import build_model, make_plan
from spfde_exp.schema import Config
from spfde_exp.train.device import choose_device, exact
from spfde_exp.train.trainer import Trainer

FEW = 4  # examples of the first, careful batch
STEP_S = 0.3  # a step that takes more is tried with a smaller batch
ENOUGH_S = 0.4


def trial_pace(config: Config, threads: int | None) -> float:
    """Seconds per simulated FLOP of a run's training steps, tried on random images for a second or two.

    Starts small and grows to the run's batch, as far as a step takes no longer than `STEP_S`, then to more steps.

    Args:
        threads: CPU threads, None on a GPU.

    Raises:
        UserError: the device is not there.
        RuntimeError: its memory does not suffice.
    """
    device, there = choose_device(config.device), SPECS[config.dataset.name].train
    most = min(config.optim.batch_size, there // 2)
    batch, steps = min(FEW, most), 2
    with exact(threads or torch.get_num_threads(), config.precision), torch.random.fork_rng(devices=[]):
        while True:
            seconds, pace = _epoch(config, batch, steps, device)
            larger = min(most, int(batch * STEP_S * steps / seconds))
            more = min(int(1.2 * steps * ENOUGH_S / seconds), there // batch)
            if seconds < ENOUGH_S and larger > batch:
                batch = larger
            elif seconds < ENOUGH_S and more > steps:
                steps = more
            else:
                return pace


def _epoch(config: Config, batch: int, steps: int, device: torch.device) -> tuple[float, float]:
    """Train epochs of `steps` batches: seconds that one takes undisturbed, and seconds per FLOP."""
    plain = replace(
        config,
        epochs=2,
        dataset=replace(config.dataset, subset=batch * steps, val_fraction=0.0, test_subset=None),
        optim=replace(config.optim, batch_size=batch),
        freeze=replace(config.freeze, scheme="none", target=0.0),
        sieve=replace(config.sieve, mode="none", ratio=0.0),
    )
    plan = make_plan(plain)
    trainer = Trainer(plain, plan, build_model(plain), _images(plain, batch * steps).to(device), device)
    trainer.start_epoch(0)
    trainer.train_epoch(1)  # the first steps are slow, and epoch 0 would be watched by the memory meter
    seconds = min(float(trainer.train_epoch(1)["epoch_time_s"]) for _ in range(2))
    return seconds, seconds * plan.epochs / plan.prediction()["train_flops_simulated"]


def _images(config: Config, examples: int) -> Dataset:
    spec = SPECS[config.dataset.name]
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
