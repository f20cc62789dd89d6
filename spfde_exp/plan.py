"""Planning a run: from its resolved configuration to all that will happen in it."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from spfde_exp.config import signature
from spfde_exp.cost.profile import Profile, profile
from spfde_exp.data.specs import Spec, spec_of
from spfde_exp.errors import UserError
from spfde_exp.freeze.autofreeze import decision_epochs
from spfde_exp.freeze.schemes import freeze_plan
from spfde_exp.freeze.solver import FreezeProblem
from spfde_exp.models import Blueprint, blueprint
from spfde_exp.rounding import share_of
from spfde_exp.run_plan import RunPlan
from spfde_exp.schema import Config, HooksConfig, Optim
from spfde_exp.sieve.plan import sieve_plan
from spfde_exp.sparse.distribution import Distribution
from spfde_exp.sparse.methods import METHODS, Method
from spfde_exp.sparse.scheme import layouts

__all__ = ["RunPlan", "build_model", "make_plan", "train_size"]


def train_size(config: Config) -> int:
    """Training examples of a run, before sieving.

    Raises:
        UserError: the subset is larger than the data set.
    """
    name = config.dataset.name
    full = spec_of(config.dataset).train
    rest = full - share_of(full, config.dataset.val_fraction)
    if config.dataset.subset is not None and config.dataset.subset > rest:
        raise UserError(f"dataset.subset={config.dataset.subset} is more than the {rest} training examples of {name}")
    return config.dataset.subset or rest


def build_model(config: Config) -> nn.Module:
    """The model of a run, on the CPU, with weights drawn from the global generator.

    Raises:
        UserError: there is no such model, or it does not fit the data set's images.
    """
    spec = spec_of(config.dataset)
    return blueprint(config.model).build(spec.classes, spec.shape)


def make_plan(config: Config, model: nn.Module | None = None) -> RunPlan:
    """Plan the run of a resolved configuration.

    Without `model`, what was measured or planned before is used again, and torch's generator is left as it is: a
    sweep plans a thousand runs of few models.

    Args:
        model: the model of this run, to measure it itself.

    Raises:
        UserError: the freezing target is out of reach, a layer cannot hold the sparsity, or sizes do not fit.
    """
    spec, sparse = spec_of(config.dataset), METHODS[config.method.name].sparse
    which = config.sparsity.prunable if sparse else None
    if model is not None:
        return _plan(config, profile(model, spec.shape, which))
    # Planned from a configuration without what plans do not depend on, so that such runs share one.
    optim = Optim(1.0, 0.0, momentum=0.0, weight_decay=0.0, nesterov=False, batch_size=config.optim.batch_size)
    part = replace(config, seed=0, precision="fp32", optim=optim, hooks=HooksConfig())
    drawn = blueprint(config.model)
    key = (signature(part), config.sparsity.tolerance, METHODS[config.method.name], spec, drawn)
    if key not in _plans:
        _plans[key] = _plan(part, _profile(drawn, spec, which))
    return _plans[key]


_plans: dict[tuple[Any, ...], RunPlan] = {}


@lru_cache(maxsize=64)
def _profile(drawn: Blueprint, spec: Spec, which: str | None) -> Profile:
    with torch.random.fork_rng(devices=[]):
        return profile(drawn.build(spec.classes, spec.shape), spec.shape, which)


def _estimated(method: type[Method]) -> set[str]:
    counts = {"train_flops", "inference_flops"} if method.own_densities else set()
    return counts | ({"train_flops"} if method.dense_gradients else set())


def _plan(config: Config, model: Profile) -> RunPlan:
    examples, dst, method = train_size(config), config.dst, METHODS[config.method.name]
    schedule = method.schedule_of(config)
    sparsity, prunable = config.sparsity, set(model.prunable)
    shapes = {layer.name: layer.shape for layer in model.layers if layer.name in prunable}
    groups = {layer.name: layer.groups for layer in model.layers if layer.name in prunable}
    units = layouts(shapes, sparsity.scheme, sparsity.block, groups)
    distribution = Distribution(units, sparsity.target, sparsity.distribution, sparsity.explicit)
    if method.ranks_globally:
        distribution.check_total()
    else:
        distribution.check(sparsity.tolerance)
    freeze, name = config.freeze, config.model.name
    density = tuple(1 - s for s in schedule.trained) if freeze.accounting == "trained" else None
    resume = int(freeze.resume_epochs) if freeze.scheme == "single_shot_resume" else 0
    problem = FreezeProblem(name, model.blocks, model.shares, config.epochs, dst.every, density, resume)
    frozen = freeze_plan(problem, freeze)
    # The first decision at run time compares with nothing, and freezes nothing.
    decisions = [] if frozen.known else decision_epochs(config.epochs, freeze.intervals, dst.every)[1:]
    method.check_freezing(config, min(frozen.first, *decisions, config.epochs))
    sieve = sieve_plan(config.sieve, examples)
    return RunPlan(
        layers=model.layers,
        distribution=distribution,
        footprint=method.footprint,
        estimated=frozenset(_estimated(method)),
        schedule=schedule,
        freeze=frozen,
        sieve=sieve,
        batch_size=config.optim.batch_size,
        other_params=model.other_params,
        peak_bytes=model.peak_bytes(min(config.optim.batch_size, sieve.trained(0))),
    )
