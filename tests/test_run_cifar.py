"""The real thing in small: ResNet-32 (width 2) on real CIFAR-100, killed in its second epoch."""

import subprocess
import sys
import time

import pytest
import torch

from spfde_exp.config import compose, signature
from spfde_exp.store import RunFolder

pytestmark = pytest.mark.slow

# The default method, updated in every epoch so that two epochs see every mechanism but freezing, which cannot
# save 15 % in two.
STUDY = [
    "recipe=cifar100", "epochs=2", "dst.every=1", "freeze=none", "dataset.subset=400", "dataset.test_subset=100",
    "threads=1", "logger=none",
]  # fmt: skip


def start(root, runs_dir, engine) -> subprocess.Popen[str]:
    words = [*STUDY, f"dataset.root={root}", f"runs_dir={runs_dir}", f"engine={engine}"]
    command = [sys.executable, "-m", "spfde_exp", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("engine", ["dense", "sparse"])
def test_loss_falls_counts_are_exact_and_a_kill_changes_no_bit(data_root, tmp_path, engine):
    name = signature(compose(STUDY))
    calm, killed = RunFolder(tmp_path / "calm" / name), RunFolder(tmp_path / "killed" / name)
    child = start(data_root, tmp_path / "calm", engine)
    assert child.wait(900) == 0, child.stderr.read()

    rows, plan = calm.metrics(), calm.json("plan")
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    total = sum(layer["weights"] for layer in layers(calm))
    kept = sum(plan["sparsity"]["layers"].values())
    grown = sum(half_up(15 * layer["weights"], 100) for layer in layers(calm))
    assert [row["sparsity"] for row in rows] == pytest.approx([1 - grown / total, 1 - kept / total], abs=1e-12)
    assert [row["train_examples"] for row in rows] == [340, 340]

    child = start(data_root, tmp_path / "killed", engine)
    while not killed.metrics():
        assert child.poll() is None
        time.sleep(0.01)
    time.sleep(1)  # well inside the second epoch
    child.kill()
    child.wait()
    assert len(killed.metrics()) == 1
    child = start(data_root, tmp_path / "killed", engine)
    assert child.wait(900) == 0, child.stderr.read()

    one, other = (torch.load(f.file("model.pt"), weights_only=True) for f in (calm, killed))
    for part in ("model", "masks"):
        assert all(torch.equal(one[part][key], other[part][key]) for key in one[part])
    assert [timeless(row) for row in killed.metrics()] == [timeless(row) for row in rows]


def layers(folder: RunFolder) -> list[dict]:
    saved = torch.load(folder.file("model.pt"), weights_only=True)
    return [{"name": name, "weights": mask.numel()} for name, mask in saved["masks"].items()]


def half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def timeless(row: dict) -> dict:
    return {key: value for key, value in row.items() if "time" not in key}
