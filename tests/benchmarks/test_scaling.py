"""Threads and neighbours: what is compared, and Amdahl's law."""

import argparse
import importlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.benchmarks.scripts import SMALL, Run, median_of


def test_amdahl(benchmarks: Path) -> None:
    scaling = importlib.import_module("scaling")
    assert scaling.serial_share(2, 2) == 0
    assert scaling.serial_share(1, 2) == 1
    assert scaling.serial_share(1.6, 2) == pytest.approx(0.25)  # 1 / (0.25 + 0.75 / 2) = 1.6
    assert scaling.amdahl(0.25, 2) == pytest.approx(1.6)
    assert scaling.amdahl(0.25, 64) == pytest.approx(64 / (64 * 0.25 + 0.75))


def test_slots(benchmarks: Path) -> None:
    """Two steps in 1.6 s side by side, or in twice 1 s."""
    assert importlib.import_module("scaling").in_slots(1.6, 1.0) == pytest.approx(1.25)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core has no neighbour")
def test_scaling(run_benchmark: Run) -> None:
    cores = os.sched_getaffinity(0)
    threads, beside = run_benchmark("scaling", *SMALL, "--sparsity", "0.9", "--turns", "6", "--steps", "1")
    assert [(row["engine"], row["threads"]) for row in threads] == [("dense", "2"), ("sparse", "2")]
    for row in threads:
        assert float(row["efficiency"]) == pytest.approx(median_of(row["times faster [95 %]"]) / 2, abs=0.006)
    assert [row["engine"] for row in beside] == ["dense", "sparse", "copies"]
    assert [row["target"].split(":")[0] for row in beside] == [">= 0.98", ">= 0.98", "none"]
    assert [row["target of slots"].split(":")[0] for row in beside] == [">= 1", ">= 1", "none"]
    for row in beside:
        assert len(row["ms of one step, least: alone / beside / two threads"].split(" / ")) == 3
    assert os.sched_getaffinity(0) == cores


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core has no neighbour")
def test_a_neighbour_that_fails_is_told(benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the steps would be timed alone in all turns, and the target be met."""
    scaling = importlib.import_module("scaling")
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    cores = sorted(os.sched_getaffinity(0))
    arguments = argparse.Namespace(
        model="resnet14", width=0.25, batch=8, data=None, steps=1, turns=6, threads=2, sparsity="0.9"
    )
    with pytest.raises(RuntimeError, match="neighbour ended"):
        scaling.beside_another("dense", 0.9, arguments, cores)
    assert sorted(os.sched_getaffinity(0)) == cores
