"""AutoFreeze (Liu et al., 2021): its test by hand, and a run that decides, is killed and goes on."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spfde_exp.config import compose
from spfde_exp.data import load
from spfde_exp.freeze.autofreeze import AutoFreeze, changes, decision_epochs, prefix
from spfde_exp.launch.dryrun import dry_run
from spfde_exp.plan import build_model, make_plan
from spfde_exp.progress import Reader
from spfde_exp.run import train as run
from spfde_exp.store import RunFolder
from spfde_exp.train.trainer import Trainer
from spfde_exp.verbs.show import everything, facts

# -- the test


def test_relative_changes() -> None:
    assert changes([2.0, 4.0, 1.0], [1.0, 5.0, 1.0]) == [0.5, 0.25, 0.0]
    assert changes([0.0, 0.0], [0.0, 1.0]) == [0.0, float("inf")]


@pytest.mark.parametrize(
    ("rates", "percentile", "blocks"),
    [
        ([0.1, 0.2, 0.3, 0.4], 50, 2),  # the median is 0.25
        ([0.3, 0.1, 0.2, 0.4], 50, 0),  # the first is above it
        ([0.1, 0.4, 0.2, 0.3], 50, 1),  # the third is below, but the second is not
        ([0.1, 0.2, 0.3, 0.4], 25, 1),
        ([0.1, 0.2, 0.3, 0.4], 100, 3),  # never the one that changes most
        ([0.1, 0.2, 0.3, 0.4], 0, 0),
        ([0.1, 0.2, 0.9], 50, 1),  # the median itself does not freeze
        ([0.5], 50, 0),
        ([0.1, float("inf"), float("inf")], 50, 1),
    ],
)
def test_the_leading_blocks_below_the_percentile(rates: list[float], percentile: float, blocks: int) -> None:
    assert prefix(rates, percentile) == blocks


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12), st.floats(0, 100))
def test_the_prefix_by_numpy(rates: list[float], percentile: float) -> None:
    below = [rate < np.percentile(rates, percentile) - 1e-12 for rate in rates]
    certain = next((k for k, less in enumerate(below) if not less), len(rates))
    at_most = [rate < np.percentile(rates, percentile) + 1e-12 for rate in rates]
    possible = next((k for k, less in enumerate(at_most) if not less), len(rates))
    assert certain <= prefix(rates, percentile) <= possible
    assert prefix(rates, percentile) < len(rates)


@pytest.mark.parametrize(
    ("epochs", "intervals", "every", "first"), [(160, 10, 5, 15), (80, 10, 5, 10), (8, 10, 1, 1), (20, 4, 1, 5)]
)
def test_intervals_keep_step_with_the_structure(epochs: int, intervals: int, every: int, first: int) -> None:
    found = decision_epochs(epochs, intervals, every)
    assert (found[0], found.step) == (first, first) and epochs not in found


# -- gradients


def three_blocks() -> tuple[nn.Module, list[tuple[str, list[str]]], AutoFreeze]:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    blocks = [("first", ["0"]), ("second", ["1"]), ("third", ["2"])]  # the last layer is the classifier
    return model, blocks, AutoFreeze(model, blocks, range(2, 10, 2), 50)


def feed(model: nn.Module, watcher: AutoFreeze, sizes: list[float | None]) -> None:
    """A step with gradients of `sizes` in the layers' weights and none in their biases."""
    for layer, size in zip(model, sizes, strict=False):  # type: ignore[call-overload]
        layer.weight.grad = None if size is None else torch.full((2, 2), size)
        layer.bias.grad = None if size is None else torch.zeros(2)
    watcher.observe()


def test_gradients_add_up_before_their_norm_is_taken() -> None:
    model, _, watcher = three_blocks()
    feed(model, watcher, [1.0, 1.0, 1.0, 9.0])
    feed(model, watcher, [1.0, -1.0, 3.0, 9.0])  # sums 2, 0 and 4 of four entries each; the classifier does not count
    assert watcher.decide(0) == 0  # nothing to compare with
    assert watcher.state_dict() == {"sums": {}, "norms": [8.0, 0.0, 16.0]}
    feed(model, watcher, [2.0, 1.0, 8.0])  # changes of 0, infinitely much and 1: the median is 1
    assert watcher.decide(0) == 1
    feed(model, watcher, [None, 1.0, 4.0])  # of the two that are left, 0 and 0.5
    assert watcher.decide(1) == 2
    feed(model, watcher, [None, None, 400.0])
    assert watcher.decide(2) == 2  # the last one stays


def test_it_goes_on_from_its_state() -> None:
    model, blocks, watcher = three_blocks()
    feed(model, watcher, [1.0, 2.0, 3.0])
    watcher.decide(0)
    feed(model, watcher, [1.0, 2.5, 9.0])
    other = AutoFreeze(model, blocks, range(2, 10, 2), 50)
    other.load_state_dict(watcher.state_dict())
    for each in (watcher, other):
        feed(model, each, [0.1, 0.1, 0.1])
    assert other.decide(0) == watcher.decide(0) == 1


# -- a run

QUIET = ["threads=1", "logger=none"]
RUN = ["debug=tiny", "freeze=autofreeze", "epochs=12", "dst.base_epochs=12", "freeze.intervals=6", "dst.every=1"]


def trainer_of(*overrides: str) -> Trainer:
    config = compose([*RUN, "dataset.subset=96", "model.width=0.25", *overrides])
    torch.manual_seed(config.seed)
    model = build_model(config)
    data = load("digits", config.dataset.root, subset=96, split_seed=config.dataset.split_seed)
    return Trainer(config, make_plan(config, model), model, data, torch.device("cpu"))


def train(trainer: Trainer, first: int, last: int) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(first, last):
        lr = trainer.start_epoch(epoch)
        row = {"lr": lr} | trainer.train_epoch(epoch)
        assert row["epoch_flops"] == trainer.plan.epoch_flops(epoch)
        rows.append({key: value for key, value in row.items() if "time" not in key and "peak" not in key})
    return rows


@pytest.mark.parametrize("cut", [3, 4, 6, 7])
def test_resumed_bit_for_bit_within_and_between_intervals(cut: int, tmp_path: Path) -> None:
    whole, first = trainer_of(), trainer_of()
    whole.begin()
    first.begin()
    expected, before = train(whole, 0, 12), train(first, 0, cut)
    torch.save(first.state_dict(cut), tmp_path / "state.pt")
    second = trainer_of()
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert before + train(second, cut, 12) == expected
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
    assert second.plan.freeze.frozen == whole.plan.freeze.frozen
    assert max(whole.plan.freeze.frozen) > 0


def test_it_freezes_for_good_at_the_ends_of_intervals() -> None:
    trainer = trainer_of()
    trainer.begin()
    frozen = [row["frozen_blocks"] for row in train(trainer, 0, 12)]
    assert frozen == sorted(frozen) and frozen[:4] == [0] * 4 and frozen[-1] < 6
    assert all(frozen[epoch] == frozen[epoch + 1] for epoch in range(0, 12, 2))
    assert [trainer.plan.freeze.progress(0, epoch) for epoch in (0, 6)] == [0, 0.5]  # of all epochs


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    config = compose([*RUN, *QUIET, f"runs_dir={tmp_path_factory.mktemp('undisturbed')}"])
    run(config, RUN)
    return RunFolder.of(config)


def process(tmp_path: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "spfde_exp", *RUN, *QUIET, f"runs_dir={tmp_path}"]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_it_ends_as_if_undisturbed(done: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / done.signature)
    for epochs in (3, 7):
        child, deadline = process(tmp_path), time.time() + 120
        while len(folder.metrics()) < epochs and time.time() < deadline:
            assert child.poll() is None, child.communicate()
            time.sleep(0.005)
        child.kill()
        child.communicate()
        assert folder.summary() is None
    _, said = (child := process(tmp_path)).communicate()
    assert child.returncode == 0 and "goes on at epoch" in said
    one, other = (torch.load(f.file("model.pt"), weights_only=True) for f in (done, folder))
    assert all(torch.equal(one["model"][key], other["model"][key]) for key in one["model"])
    assert [row["frozen_blocks"] for row in folder.metrics()] == [row["frozen_blocks"] for row in done.metrics()]
    assert folder.json("plan") == done.json("plan")


def test_the_realised_plan_joins_the_one_made_before(done: RunFolder) -> None:
    plan, summary, rows = done.json("plan"), done.summary(), done.metrics()
    assert plan is not None and summary is not None
    frozen = [row["frozen_blocks"] for row in rows]
    assert plan["freeze"]["frozen_blocks"] == [0] * 12
    assert "flops_reduction_freeze" in plan["prediction"]["unknown"]
    assert plan["realised"]["freeze"]["frozen_blocks"] == frozen
    assert "unknown" not in plan["realised"]["prediction"] and "unknown" not in summary
    assert summary["train_flops"] == sum(row["epoch_flops"] for row in rows)
    assert summary["train_flops"] == plan["realised"]["prediction"]["train_flops"] < plan["prediction"]["train_flops"]
    assert summary["flops_reduction_freeze"] == plan["realised"]["prediction"]["flops_reduction_freeze"] > 0
    assert summary["memory_avg_bytes"] == pytest.approx(sum(row["memory_bytes"] for row in rows) / 12)


def test_dry_runs_and_show_say_that_it_is_a_bound(
    done: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = (RUN, compose([*RUN, f"runs_dir={tmp_path}"]))
    dry_run([job], as_json=False)
    told = capsys.readouterr().out
    assert "1 run will tell only in training what is saved: FLOPs, memory and time are upper bounds" in told
    dry_run([job], as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert "train_flops" in printed["unknown"] and printed["train_flops"] > 0
    shown = facts(everything(done, (reader := Reader()).read(done), reader))
    assert shown["freeze"].startswith("autofreeze, ") and "of 6 blocks from epoch" in shown["freeze"]
