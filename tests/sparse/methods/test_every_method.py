"""What holds for every method, whatever the layers, densities, freezing and seed; of new methods too."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spfde_exp.config import compose, resolve
from spfde_exp.errors import UserError
from spfde_exp.schema import Config
from spfde_exp.sparse.masks import Masks
from spfde_exp.sparse.methods import METHODS
from spfde_exp.sparse.methods.base import Method, Step
from spfde_exp.train.rng import generator

SPARSE = [name for name, method in METHODS.items() if method.sparse]
EPOCHS, STEPS = 4, 2
OFTEN = {"every_steps": 2, "threshold": 0.05, "temperature": 1e-2, "rounds": 3, "examples": 8, "per_class": 2}


@cache
def composed(name: str) -> Config:
    return compose([f"method={name}", f"epochs={EPOCHS}", f"dst.base_epochs={EPOCHS}", "dst.every=1", "dst.stop=3"])


class Toys:
    """Twelve random images of three classes."""

    labels = torch.arange(12) % 3
    shape = (2, 4, 4)
    images = torch.randn(12, *shape, generator=torch.Generator().manual_seed(0))

    def epoch(self, kept: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        order = kept[torch.randperm(len(kept), generator=generator)]
        for part in order.split(6):
            yield self.images[part], self.labels[part], part


class Toy(nn.Module):
    """Convolutions of any widths and kernels between a dense stem and a dense classifier."""

    def __init__(self, widths: list[int], kernels: list[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, widths[0], 3, padding=1)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
            for before, after, kernel in zip(widths, widths[1:], kernels, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.classifier = nn.Linear(widths[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu()
        return self.classifier(x.mean((2, 3)))


class Run:
    """A short training of a toy, with freezing, that looks at every weight after every step."""

    def __init__(self, name: str, model: Toy, target: float, distribution: str, rewind: int, seed: int) -> None:
        config = asdict(composed(name))
        often = {key: value for key, value in (OFTEN | {"rewind_epochs": rewind}).items() if key in METHODS[name].reads}
        config["method"] |= often | ({"p": "auto"} if "p" in METHODS[name].reads else {})
        config["sparsity"] |= {"target": target, "distribution": distribution}
        config = resolve(config)
        self.model = model.to(memory_format=torch.channels_last)
        self.layers = [f"convs.{index}" for index in range(len(model.convs))]
        weights = {layer: model.get_submodule(layer).weight for layer in self.layers}
        self.masks = Masks(weights, target, distribution=config.sparsity.distribution, tolerance=1.0)
        self.optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3, foreach=True)
        self.masks.attach(self.optimizer)
        self.plan = METHODS[name].schedule_of(config)
        self.method: Method = METHODS[name](
            config.method, self.plan, self.masks, lambda *purpose: generator(seed, *purpose)
        )
        if METHODS[name].previous_level(target, config.method) is not None:
            self.method.inherit(
                {layer: torch.randn(w.shape, generator=generator(seed)) for layer, w in weights.items()}
            )
        self.method.draw(model, Toys())
        drawn = self.plan.target if 0 in self.plan.updates else self.plan.trained[0]
        self.expected = dict.fromkeys(self.layers, drawn)
        self.check()

    def epoch(self, epoch: int, depth: int, before: int) -> None:
        """Train an epoch with `depth` leading layers frozen, `before` in the epoch before."""
        for layer in self.layers[before:depth]:
            self.method.rest(layer)
            self.expected[layer] = self.plan.target
        active = self.layers[depth:]
        for layer in self.layers[:depth]:
            self.model.get_submodule(layer).weight.grad = None
        self.method.start_epoch(epoch, active)
        if epoch in self.plan.updates:
            self.expected |= dict.fromkeys(active, self.plan.trained[epoch])
        self.check()
        frozen = {layer: (self.masks.kept[layer].clone(), self.masks.weights[layer].detach().clone())
                  for layer in self.layers[:depth]}  # fmt: skip
        for index, (x, y, _) in enumerate(Toys().epoch(torch.arange(12), generator(epoch))):
            at = Step(epoch, index, STEPS, epoch * STEPS + index, 0.1, 1e-3)
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(x), y).backward()
            for layer in self.layers[:depth]:
                self.masks.weights[layer].grad = None
            if not self.method.gradients(at, active):
                self.optimizer.step()
            self.method.stepped(at, active)
            self.check()
        for layer, (mask, weight) in frozen.items():
            assert torch.equal(self.masks.kept[layer], mask) and torch.equal(self.masks.weights[layer], weight)

    def check(self) -> None:
        """Counts are exact, and what is masked is zero: weights, gradients and momentum."""
        counts = {layer: self.masks.count(layer) for layer in self.layers}
        units = {layer: self.masks.distribution.units(layer, self.expected[layer]) for layer in self.layers}
        if not self.method.own_densities:
            assert counts == units
        elif len(set(self.expected.values())) == 1:  # else some are frozen before the rewinding of all
            assert sum(counts.values()) == sum(units.values())
        for layer, mask in self.masks.kept.items():
            weight = self.masks.weights[layer]
            assert not weight[~mask].any()
            assert weight.grad is None or not weight.grad[~mask].any()
            momentum = self.optimizer.state.get(weight, {}).get("momentum_buffer")
            assert momentum is None or not momentum[~mask].any()


@pytest.mark.parametrize("name", SPARSE)
@given(
    widths=st.lists(st.integers(2, 7), min_size=3, max_size=5),
    kernels=st.lists(st.sampled_from([1, 3]), min_size=4, max_size=4),
    density=st.integers(10, 90),
    distribution=st.sampled_from(["uniform", "erk"]),
    depths=st.lists(st.integers(0, 4), min_size=EPOCHS, max_size=EPOCHS),
    rewind=st.integers(0, 3),
    seed=st.integers(0, 9999),
)
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
def test_counts_are_exact_and_masked_entries_zero_after_every_step(
    name: str, widths: list[int], kernels: list[int], density: int, distribution: str, depths: list[int], rewind: int,
    seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    model = Toy(widths, kernels)
    try:
        run = Run(name, model, 1 - density / 100, distribution, rewind, seed)
    except UserError:  # a layer too small for this density
        assume(False)
    before = 0
    for epoch, depth in enumerate(min(depth, len(widths) - 1) for depth in depths):
        run.epoch(epoch, depth, before)
        before = depth
    target = {layer: run.masks.distribution.units(layer, run.plan.target) for layer in run.layers}
    if run.method.own_densities:
        assert sum(map(run.masks.count, run.layers)) == sum(target.values())
    else:
        assert {layer: run.masks.count(layer) for layer in run.layers} == target
