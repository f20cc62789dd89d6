"""Whole runs by both engines: what is compared, and that another network is told."""

from pathlib import Path

import pytest

from tests.benchmarks.scripts import Run

TINY = ("debug=tiny", "epochs=6", "optim.lr=0.03")


def test_engine_runs(run_benchmark: Run) -> None:
    losses, ends = run_benchmark("engine_runs", "--seeds", "0,1", *TINY)
    steps = [f"step {step}" for step in (1, 2, 4, 6)]  # 170 of 200 images, 32 in a step
    assert [row["of"] for row in losses] == [*steps, *(f"epoch {epoch}" for epoch in (1, 2, 4, 6))]
    assert [row["target"] for row in losses[:3]] == ["<= 2e-06: met", "<= 0.001: met", "none"]
    assert 0 < float(losses[-1]["engines differ"]) < 0.1
    assert all(0 <= float(row["reordered"]) < 0.1 for row in losses)
    assert [row["way"] for row in ends] == ["dense", "sparse", "reordered"]
    assert {row["weights"] for row in ends} == {"4328"}  # a tenth of each of the masked layers of resnet14
    assert [row["target"][-3:] for row in ends] == ["one", "met", "one"]


@pytest.mark.slow
def test_real_images(run_benchmark: Run, data_root: Path) -> None:
    options = ("--seeds", "0,1", "--data", str(data_root), "--width", "0.5", "--subset", "200", "--only", "cifar100")
    losses, ends = run_benchmark("engine_runs", *options, "dataset.test_subset=100")
    assert {row["run"] for row in (*losses, *ends)} == {"cifar100"}
    assert [row["of"] for row in losses][-2:] == ["epoch 2", "epoch 3"]


def test_another_network_is_a_failure(run_benchmark: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits a little off."""
    from spfde_exp.engine.network import SparseNetwork

    call = SparseNetwork.__call__
    monkeypatch.setattr(SparseNetwork, "__call__", lambda *arguments: 1.001 * call(*arguments))
    with pytest.raises(SystemExit, match="the engines train different networks"):
        run_benchmark("engine_runs", "--seeds", "0,1", *TINY)
