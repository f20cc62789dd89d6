"""Every scheme trained for real, in small: what is executed is what was planned, and masks keep to the target."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch

from spfde_exp.config import compose
from spfde_exp.data import load
from spfde_exp.plan import RunPlan, build_model, make_plan
from spfde_exp.train.trainer import Trainer

SCHEMES = {
    "single_shot": ["freeze=0.2"],
    "resume": ["freeze=single_shot_resume"],
    "periodic": ["freeze=periodic"],
    "delayed": ["freeze=delayed_periodic"],
    "fraction": ["freeze=single_shot", "freeze.fraction=2/3"],
    "freezeout": ["freeze=freezeout"],
}
TINY = [
    "debug=tiny", "epochs=22", "dst.base_epochs=22", "dst.every=3", "dst.milestones=[9]", "dst.stop=15",
    "dataset.subset=64", "model.width=0.25", "sieve=none",
]  # fmt: skip


@cache
def digits(subset: int, seed: int) -> Any:
    return load("digits", "data", subset=subset, split_seed=seed)


def trainer_of(*overrides: str) -> Trainer:
    config = compose([*TINY, *overrides])
    torch.manual_seed(config.seed)
    model = build_model(config)
    data = digits(64, config.dataset.split_seed)
    trainer = Trainer(config, make_plan(config, model), model, data, torch.device("cpu"))
    trainer.begin()
    return trainer


def epochs_of(trainer: Trainer) -> Iterator[tuple[int, dict[str, Any]]]:
    for epoch in range(trainer.plan.epochs):
        trainer.start_epoch(epoch)
        yield epoch, trainer.train_epoch(epoch)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("method", ["mest_ems", "mest_em"])
def test_the_meter_agrees_with_the_plan_in_every_epoch(scheme: str, method: str) -> None:
    trainer = trainer_of(f"method={method}", *SCHEMES[scheme])
    plan = trainer.plan
    for epoch, row in epochs_of(trainer):
        assert {name: trainer.masks.count(name) for name in trainer.masks.kept} == plan.kept(epoch), epoch
        assert row["epoch_flops"] == plan.epoch_flops(epoch), epoch
        assert row["frozen_blocks"] == plan.freeze.frozen[epoch]
    assert plan.kept(21) == plan.final_kept()
    assert max(plan.freeze.frozen) > 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_flat_reduction_as_executed(scheme: str) -> None:
    """At constant density, dense, what the meter saves is the flat figure."""
    trainer = trainer_of("method=dense", *SCHEMES[scheme])
    executed = sum(row["epoch_flops"] for _, row in epochs_of(trainer))
    cost = trainer.plan.prediction()
    assert 1 - executed / cost["train_flops_dense"] == pytest.approx(cost["flops_reduction_freeze"], abs=1e-9)


# -- sparsity of a block that freezes and wakes


def levels(plan: RunPlan, layer: str) -> list[float]:
    """Share of zeros of a layer in each epoch."""
    weights = {each.name: each.weights for each in plan.layers}[layer]
    return [round(1 - plan.kept(epoch)[layer] / weights, 2) for epoch in range(plan.epochs)]


def test_a_block_that_wakes_stays_at_the_target_until_its_next_update() -> None:
    """EM&S at 90 % updates at 0, 3, 6, 9 and 12: 0.85, from 9 on 0.875; pruned for good at 15."""
    config = compose([*TINY, "model.width=2", "freeze=periodic"])
    plan = make_plan(config)
    assert plan.freeze.frozen[:8] == (0, 3, 1, 3, 0, 3, 1, 3)
    # group 1 trains at 0, 4, 8, 12, ...: of these only 0 and 12 are updates
    rare = [0.85] + [0.9] * 11 + [0.88] + [0.9] * 9
    # group 2 at 0, 2, 4, 6, ...: 0, 6 and 12
    often = [0.85] + [0.9] * 5 + [0.85] + [0.9] * 5 + [0.88] + [0.9] * 9
    always = [0.85] * 9 + [0.88] * 6 + [0.9] * 7
    assert levels(plan, "stage1.0.conv2") == rare
    assert levels(plan, "stage1.1.conv1") == levels(plan, "stage2.0.conv2") == often
    assert levels(plan, "stage3.1.conv1") == always


def test_nothing_moves_while_it_rests_and_all_trains_again() -> None:
    trainer = trainer_of("freeze=single_shot_resume", "freeze.resume_epochs=3")
    weight = trainer.model.get_parameter("stage1.0.conv1.weight")
    statistics = trainer.model.get_buffer("stage1.0.bn1.running_mean")
    seen = []
    for _ in epochs_of(trainer):
        seen.append((weight.detach().clone(), statistics.clone()))
    first = trainer.plan.freeze.frozen.index(1)
    for epoch in range(first + 1, 22):
        same = [torch.equal(a, b) for a, b in zip(seen[epoch - 1], seen[epoch], strict=True)]
        assert same == [epoch < 19] * 2, epoch
    assert trainer.plan.freeze.frozen[19:] == (0, 0, 0)


@pytest.mark.parametrize("scheme", ["resume", "periodic"])
def test_what_wakes_has_its_learning_rate(scheme: str) -> None:
    trainer = trainer_of(*SCHEMES[scheme])
    plan, optim = trainer.plan.freeze, trainer.config.optim
    for epoch in range(22):
        trainer.start_epoch(epoch)
        groups = {group["block"]: group["lr"] for group in trainer.optimizer.sgd.param_groups}
        assert set(groups) == {*range(plan.frozen[epoch], 6), None}
        for block, rate in groups.items():
            done = epoch / 22
            if scheme == "resume" and block is not None:
                active = [e for e in range(22) if block >= plan.frozen[e]]
                done = active.index(epoch) / len(active)
            cosine = (1 + torch.cos(torch.tensor(torch.pi * done, dtype=torch.float64))) / 2
            assert rate == pytest.approx(optim.end_lr + (optim.lr - optim.end_lr) * float(cosine))


def test_freezeout_scales_the_learning_rate() -> None:
    trainer = trainer_of("freeze=freezeout", "freeze.t_freeze=11", "freeze.spacing=linear")
    trainer.start_epoch(0)
    groups = {group["block"]: group["lr"] for group in trainer.optimizer.sgd.param_groups}
    assert groups[0] == pytest.approx(2 * trainer.config.optim.lr)
    assert groups[None] == pytest.approx(trainer.config.optim.lr)
