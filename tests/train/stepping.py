"""Trainers on a few images, and a recorder of steps that needs no GPU."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from spfde_exp.config import compose
from spfde_exp.data import load
from spfde_exp.plan import build_model, make_plan
from spfde_exp.train.graphs import Outputs, Recorder
from spfde_exp.train.trainer import Trainer

SMALL = ["logger=none", "model=resnet14", "model.width=0.25", "optim.batch_size=16", "dataset.subset=100", "threads=1"]


def trainer_of(*overrides: str, recorder: Recorder | None = None, device: str = "cpu") -> Trainer:
    """A trainer at its beginning, on 100 digits: six whole batches and an odd one in an epoch without a sieve."""
    config = compose([*SMALL, *overrides])
    torch.manual_seed(config.seed)
    model = build_model(config)
    data = load("digits", "", subset=100, split_seed=config.dataset.split_seed)
    where = torch.device(device)
    trainer = Trainer(config, make_plan(config, model), model, data.to(where), where, recorder)
    trainer.begin()
    return trainer


def same(one: Trainer, other: Trainer) -> None:
    """Weights, statistics and masks are equal to the bit."""
    for (name, value), expected in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name
    for name, mask in one.masks.kept.items():
        assert torch.equal(mask, other.masks.kept[name]), name


class Tracer:
    """Records what a step does as a list of operations on tensors, all else fixed, as a CUDA graph does."""

    def __init__(self) -> None:
        self.trainer: Trainer | None = None

    def warm(self, function: Callable[[], Outputs]) -> Outputs:
        return function()

    def random_state(self) -> Tensor:
        return torch.get_rng_state()

    def set_random_state(self, state: Tensor) -> None:
        torch.set_rng_state(state)

    def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        assert self.trainer is not None and self.trainer.graph is not None
        tensors, parameters = self.trainer.graph.tensors(), self.trainer.graph.parameters

        def with_gradients() -> list[Tensor]:
            return [*function(), *(p.grad for p in parameters if p.grad is not None)]

        before = [tensor.clone() for tensor in tensors]
        operations = make_fx(with_gradients)()  # computes, which recording a CUDA graph does not
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
        gradients = [p.grad for p in parameters if p.grad is not None]
        outputs = tuple(torch.empty_like(value) for value in operations()[:2])
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)

        def replay() -> None:
            with torch.no_grad():
                for target, value in zip([*outputs, *gradients], operations(), strict=True):
                    target.copy_(value)

        return replay, (outputs[0], outputs[1])


def traced(*overrides: str) -> Trainer:
    """A trainer whose steps are recorded by a `Tracer`."""
    tracer = Tracer()
    tracer.trainer = trainer_of(*overrides, recorder=tracer)
    return tracer.trainer
