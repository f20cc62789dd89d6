"""A method with weights, masks and an optimiser of one's own, driven step by step."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from spfde_exp.options import folder
from spfde_exp.schema import MethodConfig
from spfde_exp.sparse.masks import Masks
from spfde_exp.sparse.methods import METHODS
from spfde_exp.sparse.methods.base import Step
from spfde_exp.sparse.schedule import build_schedule
from spfde_exp.train.rng import generator

Values = Mapping[str, Sequence[float]]


@cache
def defaults(name: str) -> Any:
    return OmegaConf.to_container(OmegaConf.load(folder("conf") / "method" / f"{name}.yaml"))


class Bench:
    """One method on layers whose weights, masks and gradients a test writes down.

    Attributes:
        weights, masks, optimizer, method: the parts.
    """

    def __init__(
        self,
        name: str,
        weights: Values,
        kept: Mapping[str, Sequence[int]] | None = None,
        *,
        epochs: int = 10,
        lr: float = 0.1,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        self.weights = {layer: nn.Parameter(torch.tensor(values)) for layer, values in weights.items()}
        self.masks = Masks(self.weights, 0.5, tolerance=None)
        for layer, mask in (kept or {}).items():
            self.masks.replace(layer, torch.tensor(mask).bool())
        self.lr, self.weight_decay = lr, weight_decay
        self.optimizer = torch.optim.SGD(
            self.weights.values(), lr, momentum=momentum, weight_decay=weight_decay, foreach=True
        )
        self.masks.attach(self.optimizer)
        config = MethodConfig(**{**defaults(name), **settings})
        plan = build_schedule(epochs, 0.5, {})
        self.method = METHODS[name](config, plan, self.masks, lambda *purpose: generator(seed, *purpose))

    def step(self, gradients: Values, epoch: int = 0, index: int = 0, steps: int = 1, count: int = 0) -> bool:
        """One step of training as the trainer does it; whether the method took the optimiser's place."""
        at = Step(epoch, index, steps, count, self.lr, self.weight_decay)
        for layer, values in gradients.items():
            self.weights[layer].grad = torch.tensor(values)
        layers = list(gradients)
        replaced = self.method.gradients(at, layers)
        if not replaced:
            self.optimizer.step()
        self.method.stepped(at, layers)
        return replaced

    def mask(self, layer: str = "a") -> list[int]:
        return self.masks.kept[layer].int().tolist()

    def values(self, layer: str = "a") -> list[float]:
        return self.weights[layer].tolist()

    def momentum(self, layer: str = "a") -> Tensor:
        return self.optimizer.state[self.weights[layer]]["momentum_buffer"]


class MakeBench(Protocol):
    def __call__(
        self, name: str, weights: Values, kept: Mapping[str, Sequence[int]] | None = None, **options: Any
    ) -> Bench: ...


@pytest.fixture(scope="session")
def bench() -> MakeBench:
    """`bench("set", {"a": [...]}, {"a": [1, 0, ...]}, drop=0.5)`: the method, with its own settings but those given."""
    return Bench


@pytest.fixture(scope="session")
def over_seeds(bench: MakeBench) -> Callable[..., Tensor]:
    """How often each position of layer "a" is kept after `act`, over 400 seeds."""

    def count(act: Callable[[Bench], object], name: str, *arguments: Any, **options: Any) -> Tensor:
        total = torch.zeros(len(arguments[0]["a"]), dtype=torch.int64)
        for seed in range(400):
            one = bench(name, *arguments, seed=seed, **options)
            act(one)
            total += one.masks.kept["a"]
        return total

    return count
