"""Every method trains digits, with freezing and sieving: exact after every step, bit for bit after an interruption."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spfde_exp.config import compose
from spfde_exp.data import load
from spfde_exp.plan import build_model, make_plan
from spfde_exp.run import train
from spfde_exp.schema import Config
from spfde_exp.sparse.methods import METHODS
from spfde_exp.sparse.methods.base import Method, Step
from spfde_exp.store import RunFolder
from spfde_exp.train.trainer import Trainer

SMALL = ["threads=1", "logger=none", "dataset.test_subset=50", "model.width=0.25"]
FEW_LEVELS = {"lth": ["method.drop=0.6"]}


def config_of(name: str, runs_dir: Path, *overrides: str) -> Config:
    """Eight epochs of three steps; 15 % saved by freezing and by sieving each."""
    few = ["debug=tiny", "dataset.subset=100", *FEW_LEVELS.get(name, [])]
    return compose([*SMALL, *few, f"method={name}", f"runs_dir={runs_dir}", *overrides])


class Watch:
    """Looks at every weight after every step of the runs of a method; may stop that at the target."""

    def __init__(self, name: str, stop_at: int | None = None) -> None:
        self.original, self.stop_at, self.steps = METHODS[name].stepped, stop_at, 0
        self.resting: dict[tuple[Method, str], tuple[Tensor, Tensor]] = {}

    def __call__(self, method: Method, step: Step, layers: list[str]) -> bool:
        if step.count == self.stop_at and method.plan.target in (0.0, 0.9):  # no level of another run
            raise RuntimeError("stopped in the middle of an epoch")
        changed = self.original(method, step, layers)
        self.steps += 1
        self.check_counts(method, step.epoch, layers)
        for layer, mask in method.masks.kept.items():
            weight = method.masks.weights[layer]
            momentum = method.masks._optimizer.state.get(weight, {}).get("momentum_buffer")
            for entries in (weight, weight.grad, momentum):
                assert entries is None or not entries[~mask].any()
            assert (weight.grad is not None) == (layer in layers)
            if layer not in layers:
                before = self.resting.setdefault((method, layer), (mask.clone(), weight.detach().clone()))
                assert torch.equal(mask, before[0]) and torch.equal(weight, before[1])
        return changed

    @staticmethod
    def check_counts(method: Method, epoch: int, layers: list[str]) -> None:
        masks, plan = method.masks, method.plan
        if method.own_densities:
            assert sum(map(masks.count, masks.kept)) == masks.distribution.total(plan.target)
        else:
            for layer in masks.kept:
                sparsity = plan.trained[epoch] if layer in layers else plan.target
                assert masks.count(layer) == masks.distribution.units(layer, sparsity)


def train_watched(config: Config, name: str, stop_at: int | None = None) -> tuple[RunFolder, Watch]:
    watch = Watch(name, stop_at)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(METHODS[name], "stepped", lambda self, step, layers: watch(self, step, layers))
        train(config)
    return RunFolder.of(config), watch


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[RunFolder, Watch]]:
    """A run of each method, watched, and what watched it."""
    runs: dict[str, tuple[RunFolder, Watch]] = {}

    def run(name: str) -> tuple[RunFolder, Watch]:
        if name not in runs:
            runs[name] = train_watched(config_of(name, tmp_path_factory.mktemp(name)), name)
        return runs[name]

    return run


def saved(folder: RunFolder) -> dict[str, dict[str, Tensor]]:
    return torch.load(folder.file("model.pt"), weights_only=True)


def timeless(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if "time" not in key}


@pytest.mark.parametrize("name", METHODS)
def test_a_run_is_exact_after_every_step_and_ends_at_its_target(
    name: str, undisturbed: Callable[[str], tuple[RunFolder, Watch]]
) -> None:
    folder, watch = undisturbed(name)
    assert watch.steps == 24 * (3 if name == "lth" else 1)  # levels 0.6 and 0.84 too
    assert bool(watch.resting) == METHODS[name].sparse  # freezing took place
    final, plan = saved(folder), folder.json("plan")
    counts = {layer: int(mask.sum()) for layer, mask in final["masks"].items()}
    if METHODS[name].own_densities:
        weights = sum(mask.numel() for mask in final["masks"].values())
        assert sum(counts.values()) == sum(int(mask.numel() * 0.1 + 0.5) for mask in final["masks"].values())
        assert folder.summary()["sparsity"] == 1 - sum(counts.values()) / weights
    else:
        assert counts == plan["sparsity"]["layers"]
    for layer, mask in final["masks"].items():
        assert not final["model"][f"{layer}.weight"][~mask].any()
    assert folder.summary()["train_flops"] == folder.summary()["setup_flops"] + sum(
        row["epoch_flops"] for row in folder.metrics()
    )


@pytest.mark.parametrize("name", METHODS)
def test_stopped_in_the_middle_of_an_epoch_it_ends_as_if_undisturbed(
    name: str, tmp_path: Path, undisturbed: Callable[[str], tuple[RunFolder, Watch]]
) -> None:
    whole, _ = undisturbed(name)
    config = config_of(name, tmp_path)
    with pytest.raises(RuntimeError, match="in the middle"):
        train_watched(config, name, stop_at=13)  # the second of three steps of epoch 4
    folder = RunFolder.of(config)
    assert folder.state() == "failed" and len(folder.metrics()) == 4
    train(config)
    assert folder.json("status")["attempt"] == 2
    final, again = saved(whole), saved(folder)
    for part in ("model", "masks"):
        assert again[part].keys() == final[part].keys()
        assert all(torch.equal(again[part][key], value) for key, value in final[part].items())
    assert list(map(timeless, folder.metrics())) == list(map(timeless, whole.metrics()))
    assert timeless(folder.summary()) == timeless(whole.summary())


# -- one trainer, without files


def trainer_of(*overrides: str) -> Trainer:
    config = compose([*SMALL, "debug=tiny", "freeze=none", "sieve=none", *overrides])
    torch.manual_seed(config.seed)
    model = build_model(config)
    data = load("digits", config.dataset.root, subset=config.dataset.subset, test_subset=50)
    trainer = Trainer(config, make_plan(config, model), model, data, torch.device("cpu"))
    if METHODS[config.method.name].previous_level(config.sparsity.target, config.method) is not None:
        trainer.method.inherit({layer: torch.randn(w.shape) for layer, w in trainer.masks.weights.items()})
    trainer.begin()
    return trainer


# 4 epochs of 13 steps; updates by steps are due every second one, a twentieth of 52
DENSE_STEPS: dict[str, Callable[[Step], bool]] = {
    "rigl": lambda step: step.count > 0 and step.count % 2 == 0 and step.epoch < 3,  # 75 % of 4
    "rigl_itop": lambda step: step.count > 0 and step.count % 2 == 0,
    "snfs": lambda step: True,
}


@pytest.mark.parametrize("name", ["dense", "set", "deepr", "dsr", "snfs", "rigl", "rigl_itop", "mest_ems"])
def test_metered_flops_by_hand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 f of the kept weights; where dense gradients are needed, 2 f of those and f of the dense layer."""
    trainer = trainer_of(f"method={name}", "epochs=4", "dst.base_epochs=4", "dst.stop=3", "dataset.subset=400")
    layers, expected = trainer.plan.layers, 0
    original = METHODS[name].gradients

    def counted(method: Method, step: Step, active: list[str]) -> bool:
        nonlocal expected
        dense = DENSE_STEPS.get(name, lambda step: False)(step)
        batch = 32 if step.index < 12 else 400 - 12 * 32
        for layer in layers:
            kept = trainer.masks.count(layer.name) if layer.name in trainer.masks.kept else layer.weights
            expected += 2 * batch * layer.positions * (2 * kept + layer.weights if dense else 3 * kept)
        return original(method, step, active)

    monkeypatch.setattr(METHODS[name], "gradients", counted)
    for epoch in range(4):
        expected = 0
        trainer.start_epoch(epoch)
        assert trainer.train_epoch(epoch)["epoch_flops"] == expected


def test_scoring_costs_what_it_computes() -> None:
    """Forward and backward, 3 f each: SNIP on 100 examples, GraSP on them twice, SynFlow on one image in 100 rounds."""
    forward = sum(2 * layer.weights * layer.positions for layer in trainer_of("method=static").plan.layers)
    assert trainer_of("method=static").setup_flops == 0
    assert trainer_of("method=snip").setup_flops == 3 * forward * 100
    assert trainer_of("method=grasp").setup_flops == 2 * 3 * forward * 100
    assert trainer_of("method=synflow").setup_flops == 3 * forward * 100


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow", "deepr", "rigl_itop", "snfs"])
def test_the_initial_masks_leave_all_else_as_it_was(name: str) -> None:
    """Kept weights, dense layers, batch norm, gradients, and the global random numbers."""
    plain = trainer_of("method=dense")
    fresh, numbers = plain.model.state_dict(), torch.get_rng_state()
    trainer = trainer_of(f"method={name}")
    assert torch.equal(torch.get_rng_state(), numbers)
    for key, value in trainer.model.state_dict().items():
        mask = trainer.masks.kept.get(key.removesuffix(".weight"))
        assert torch.equal(value, fresh[key] if mask is None else fresh[key] * mask)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


def test_an_update_of_rigl_leaves_the_dense_layers_too() -> None:
    """With an update in every step but the first, only the first trains."""
    trainer = trainer_of("method=rigl", "method.every_steps=1", "method.until=1")
    trainer.start_epoch(0)
    seen: list[Tensor] = []
    step = trainer.optimizer.sgd.step
    trainer.optimizer.sgd.step = lambda: (step(), seen.append(trainer.model.classifier.weight.detach().clone()))
    trainer.train_epoch(0)
    assert len(seen) == 1
    assert torch.equal(trainer.model.classifier.weight, seen[0])
