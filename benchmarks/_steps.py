"""Training steps to be timed: written by hand, and the product's."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from spfde_exp.cost.meter import FlopMeter
from spfde_exp.train.device import autocast
from spfde_exp.train.tally import Tally
from spfde_exp.train.trainer import WATCHED, Trainer

Batch = tuple[Tensor, Tensor, Tensor]  # images, classes, indices into the training set


def batches_of(trainer: Trainer) -> list[Batch]:
    """All augmented batches of an epoch over the whole training set."""
    everything = torch.arange(len(trainer.batches.labels), device=trainer.device)
    return list(trainer.batches.epoch(everything, torch.Generator()))


class Bare:
    """The dense step as one writes it by hand, on the trainer's model, by its optimiser settings."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        fused: bool = False,
        layout: torch.memory_format = torch.channels_last,
        compiled: bool = False,
        precision: str = "fp32",
    ) -> None:
        optim = trainer.config.optim
        self.trainer, self.layout, self.precision = trainer, layout, precision
        self.model = trainer.model.to(memory_format=layout).train()
        self.forward: Callable[[Tensor], Tensor] = torch.compile(self.model) if compiled else self.model
        self.sgd = torch.optim.SGD(
            self.model.parameters(),
            lr=optim.lr,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            nesterov=optim.nesterov,
            foreach=not fused,
            fused=fused,
        )

    def __call__(self, batch: Batch) -> None:
        x, y, _ = batch
        self.sgd.zero_grad(set_to_none=True)
        with autocast(self.trainer.device, self.precision):
            logits = self.forward(x.to(memory_format=self.layout))
        loss = F.cross_entropy(logits.float(), y)
        loss.backward()
        self.sgd.step()


class Product:
    """The step of `Trainer.train_epoch`, by a graph or compiled where its steps are.

    With `sieve`, what the sieve does once per epoch is done in every step, so that no step is cheaper than in a run.
    """

    def __init__(self, trainer: Trainer, sieve: bool = False) -> None:
        trainer.start_epoch(0)
        trainer.forward.prepare(0)
        self.trainer, self.sieve, self.steps = trainer, sieve, 0
        self.can_be_fast = trainer.graph is not None or trainer.config.compile
        self.meter = FlopMeter(trainer.model, trainer.plan.layers).__enter__()

    def __call__(self, batch: Batch) -> None:
        x, y, indices = batch
        fast = self.can_be_fast and self.steps >= WATCHED
        self.meter.watch(not fast)
        loss, right, _ = self.trainer.train_step(self.trainer.at(0, self.steps, self.steps + 1), x, y, fast)
        self.steps += 1
        tally = Tally()
        tally.add(loss, right, indices)
        if self.sieve:
            tally.observed_by(self.trainer.sieve)
