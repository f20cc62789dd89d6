"""Levels are runs like others: shared, resumed, trained once by several processes, and missed in one line."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from spfde_exp import lineage as module
from spfde_exp.config import compose, signature
from spfde_exp.errors import UserError
from spfde_exp.lineage import lineage, parent, to_train
from spfde_exp.run import train
from spfde_exp.schema import Config
from spfde_exp.sparse.methods import METHODS
from spfde_exp.sparse.methods.base import Method, Step
from spfde_exp.store import RunFolder

SMALL = ["debug=tiny", "threads=1", "logger=none", "dataset.subset=100", "dataset.test_subset=50", "model.width=0.25"]
TICKET = [*SMALL, "method=lth", "method.drop=0.6"]  # levels 0, 0.6, 0.84 before 0.9


def ticket(runs_dir: Path, *overrides: str) -> Config:
    return compose([*TICKET, f"runs_dir={runs_dir}", *overrides])


def folders(config: Config) -> list[RunFolder]:
    """Of all runs of a ticket, the dense one first and its own last."""
    return [RunFolder.of(one) for one in (*lineage(config), config)]


def files(folder: RunFolder) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.path.iterdir() if not path.name.startswith(".")}


# -- which runs


def test_more_levels_than_python_can_nest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "parent", lambda level: level - 1 or None)
    assert lineage(5000) == list(range(1, 5000))  # type: ignore[arg-type]


def test_the_levels_of_90_percent() -> None:
    config = compose([*SMALL, "method=lth"])
    before = lineage(config)
    assert [one.sparsity.target for one in before] == pytest.approx([1 - 0.8**n for n in range(11)])
    assert [one.method.name for one in before] == ["dense", *["lth"] * 10]
    assert parent(config) == before[-1] and parent(before[0]) is None


def test_levels_are_shared_with_other_targets_and_with_dense_runs() -> None:
    names = {target: [signature(one) for one in lineage(compose([*SMALL, "method=lth", f"sparsity={target}"]))]
             for target in (0.9, 0.95, 0.98)}  # fmt: skip
    assert names[0.9] == names[0.95][:11] == names[0.98][:11] and names[0.95] == names[0.98][:14]
    assert names[0.9][0] == signature(compose([*SMALL, "method=dense"]))
    assert names[0.9][2] == signature(compose([*SMALL, "method=lth", "sparsity=0.36"]))


def test_a_level_differs_in_its_sparsity_only() -> None:
    config = compose([*TICKET, "hooks.cka=true", "force=true", "seed=3", "freeze=0.2"])
    before = parent(config)
    assert before is not None and not before.hooks.cka and not before.force
    changed = replace(before, sparsity=replace(before.sparsity, target=0.9), hooks=config.hooks, force=True)
    assert changed == config


@pytest.mark.parametrize("name", [name for name in METHODS if name != "lth"])
def test_no_other_method_starts_from_another_run(name: str) -> None:
    assert lineage(compose([*SMALL, f"method={name}"])) == []


# -- training them


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = ticket(tmp_path_factory.mktemp("ticket"))
    train(config, [*TICKET, "sparsity=0.9"])
    return config


def test_levels_are_ordinary_run_folders(trained: Config) -> None:
    runs = folders(trained)
    assert {path.name for path in Path(trained.runs_dir).iterdir()} == {folder.signature for folder in runs}
    for folder, sparsity in zip(runs, [0, 0.6, 0.84, 0.9], strict=True):
        assert folder.state() == "done" and folder.json("status")["attempt"] == 1
        assert folder.summary()["sparsity"] == pytest.approx(sparsity, abs=1e-3)
        assert folder.json("meta")["overrides"] == [*TICKET, f"sparsity={sparsity if sparsity else 0.0}"]


def test_each_level_keeps_the_largest_of_what_the_one_before_kept(trained: Config) -> None:
    saved = [torch.load(folder.file("model.pt"), weights_only=True) for folder in folders(trained)]
    for before, after in pairwise(saved):
        kept = torch.cat([mask.flatten() for mask in after["masks"].values()])
        size = torch.cat([before["model"][f"{layer}.weight"].abs().flatten() for layer in after["masks"]])
        assert size[kept].min() > size[~kept].max()
        for layer, mask in before["masks"].items():
            assert not (after["masks"][layer] & ~mask).any()


def test_the_flops_of_a_ticket_are_those_of_all_its_levels(trained: Config) -> None:
    total = 0
    for folder in folders(trained):
        summary = folder.summary()
        assert summary["setup_flops"] == total
        total += sum(row["epoch_flops"] for row in folder.metrics())
        assert summary["train_flops"] == total


def test_a_second_target_trains_only_what_is_new(trained: Config) -> None:
    levels = folders(trained)[:3]
    before = [files(folder) for folder in levels]
    other = ticket(Path(trained.runs_dir), "sparsity=0.92")
    assert [signature(one) for one in lineage(other)] == [folder.signature for folder in levels]
    assert to_train(other) == []
    train(other)
    assert RunFolder.of(other).state() == "done"
    assert [files(folder) for folder in levels] == before


def test_what_is_before_a_finished_level_need_not_be_there(trained: Config, tmp_path: Path) -> None:
    config, other = ticket(tmp_path), ticket(tmp_path, "sparsity=0.85")  # both start from 0.84
    _, _, last, _ = folders(trained)
    (tmp_path / last.signature).symlink_to(last.path)
    assert to_train(config) == to_train(other) == []
    train(config)
    assert RunFolder.of(config).summary()["train_flops"] == folders(trained)[-1].summary()["train_flops"]


def test_weights_that_are_gone_are_told_in_one_line(trained: Config, tmp_path: Path) -> None:
    config = ticket(tmp_path)
    last = RunFolder(tmp_path / folders(trained)[2].signature)
    last.path.mkdir()
    last.write_json("summary", folders(trained)[2].summary())
    with pytest.raises(
        UserError, match=f"the weights of run {last.signature}, .* are gone: .*rerun {last.signature}"
    ) as error:
        train(config)
    assert "\n" not in str(error.value)
    assert RunFolder.of(config).state() == "failed"


# -- interrupted, and by several processes


@contextmanager
def stopping(sparsity: float, epoch: int) -> Iterator[None]:
    """Tickets at `sparsity` stop in `epoch`, as by Ctrl-C."""
    original = METHODS["lth"].stepped

    def stepped(method: Method, step: Step, layers: list[str]) -> bool:
        if method.plan.target == sparsity and step.epoch == epoch:
            raise KeyboardInterrupt("stopped")
        return original(method, step, layers)

    with pytest.MonkeyPatch.context() as patches, pytest.raises(KeyboardInterrupt):
        patches.setattr(METHODS["lth"], "stepped", stepped)
        yield


def test_a_ticket_goes_on_within_a_level(trained: Config, tmp_path: Path) -> None:
    config = ticket(tmp_path)
    with stopping(sparsity=0.6, epoch=3):
        train(config)
    dense, stopped, missing, target = folders(config)
    assert [dense.state(), missing.state()] == ["done", "new"]
    assert {stopped.state(), target.state()} == {"stale"}  # pending, and no sweep is there to start them
    assert [one.sparsity.target for one in to_train(config)] == [0.6, 0.84]
    before = files(dense)
    train(config)
    assert files(dense) == before and stopped.json("status")["attempt"] == 2
    assert_same(config, trained)


def assert_same(one: Config, other: Config) -> None:
    for a, b in zip(folders(one), folders(other), strict=True):
        first, second = (torch.load(folder.file("model.pt"), weights_only=True) for folder in (a, b))
        assert all(torch.equal(first[part][key], second[part][key]) for part in second for key in second[part])
        assert a.summary()["train_flops"] == b.summary()["train_flops"]


def test_a_level_that_goes_on_needs_nothing_that_was_before_it(trained: Config, tmp_path: Path) -> None:
    config = ticket(tmp_path)
    for folder in folders(trained)[:2]:
        shutil.copytree(folder.path, tmp_path / folder.signature)
    with stopping(sparsity=0.84, epoch=3):
        train(config)
    for folder in folders(trained)[:2]:
        shutil.rmtree(tmp_path / folder.signature)
    assert [one.sparsity.target for one in to_train(config)] == [0.84]
    train(config)
    assert RunFolder.of(config).state() == "done" and not folders(config)[0].path.exists()


@pytest.mark.slow
def test_two_processes_train_each_level_once(trained: Config, tmp_path: Path) -> None:
    """Two targets at the same time: one trains a level, the other waits for it."""
    targets = ["sparsity=0.9", "sparsity=0.92"]
    children = [
        subprocess.Popen([sys.executable, "-m", "spfde_exp", *TICKET, f"runs_dir={tmp_path}", target],
                         stderr=subprocess.PIPE, text=True) for target in targets
    ]  # fmt: skip
    for child in children:
        _, said = child.communicate(timeout=600)
        assert child.returncode == 0, said
    for target in targets:
        for folder in folders(ticket(tmp_path, target)):
            assert folder.state() == "done" and folder.json("status")["attempt"] == 1
    assert_same(ticket(tmp_path), trained)
