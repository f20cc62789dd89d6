"""Whole runs by the sparse engine: killed, they end with the same bits; engines change in between."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spfde_exp.store import RunFolder
from spfde_exp.track.console import Progress
from tests.running import assert_same_run, killed_in_epoch, process, run

SPARSE = "engine=sparse"


def everything_happened(folder: RunFolder) -> bool:
    """Blocks froze, masks changed, and another part of the examples was trained after sieving."""
    rows, saved = folder.metrics(), torch.load(folder.file("checkpoint.pt"), weights_only=True)
    density = {row["density_trained"] for row in rows}
    return rows[-1]["frozen_blocks"] > 0 and len(density) > 1 and len(saved["sieve"]["kept"]) < 200


def test_killed_it_ends_as_if_undisturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that is killed compiles the kernels, the one that goes on loads them: the bits are the same."""
    calm = run(tmp_path / "calm", SPARSE)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    killed = killed_in_epoch(tmp_path / "killed", calm.signature, 4, SPARSE)
    assert killed.summary() is None
    child = process(tmp_path / "killed", SPARSE)
    _, said = child.communicate()
    assert (child.returncode, "goes on at epoch" in said, "bits may differ" in said) == (0, True, False)
    assert_same_run(calm, killed)
    assert everything_happened(calm)


@pytest.fixture
def run_until(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A run that is interrupted when so many epochs are done and kept."""

    def train(epochs: int, tmp_path: Path, *overrides: str) -> None:
        def interrupt(_: Progress, row: dict[str, float]) -> None:
            if row["epoch"] + 1 == epochs:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Progress, "epoch", interrupt)
            run(tmp_path, *overrides)

    return train


def test_from_dense_to_sparse_and_back(
    tmp_path: Path, run_until: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    slowly = "optim.lr=0.03"  # rounding has not grown after eight epochs
    dense = run(tmp_path / "dense", slowly)
    there = tmp_path / "there_and_back"
    run_until(2, there, slowly)
    run_until(5, there, slowly, SPARSE)
    folder = run(there, slowly)
    assert folder.signature == dense.signature
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"run {folder.signature} began with engine {before}, now {now}: its bits may differ"
        for before, now in [("dense", "sparse"), ("sparse", "dense")]
    ]

    ours, theirs = folder.metrics(), dense.metrics()
    assert [row["train_loss"] for row in ours[:2]] == [row["train_loss"] for row in theirs[:2]]
    assert ours[2]["train_loss"] != theirs[2]["train_loss"]
    for row, truth in zip(ours, theirs, strict=True):
        assert row["train_loss"] == pytest.approx(truth["train_loss"], rel=1e-3)
        assert (row["sparsity"], row["epoch_flops"]) == (truth["sparsity"], truth["epoch_flops"])
    saved, plan = torch.load(folder.file("model.pt"), weights_only=True), folder.json("plan") or {}
    assert {layer: int(mask.sum()) for layer, mask in saved["masks"].items()} == plan["sparsity"]["layers"]
    assert not any(saved["model"][f"{layer}.weight"][~mask].any() for layer, mask in saved["masks"].items())
    assert everything_happened(folder)
