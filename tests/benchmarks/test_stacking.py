"""Several runs in one process: stacked ones are trained as they would be apart."""

import argparse
import importlib
from pathlib import Path

import pytest
import torch

from spfde_exp.train.device import exact
from tests.benchmarks.scripts import SMALL, Run


@pytest.mark.parametrize("way", ["vmap", "grouped"])
def test_stacked_runs_are_those_trained_apart(benchmarks: Path, way: str) -> None:
    stacking = importlib.import_module("stacking")
    size = argparse.Namespace(model="resnet14", width=0.25, batch=8, data=None)
    with exact(1, "fp32"):
        assert stacking.difference(size, torch.device("cpu"), way) < 1e-9


def test_weights_of_another_run_differ(benchmarks: Path) -> None:
    stacking, stacked = importlib.import_module("stacking"), importlib.import_module("_stacked")
    size = argparse.Namespace(model="resnet14", width=0.25, batch=8, data=None)
    runs = stacking.trainers(size, torch.device("cpu"), 3)
    for together in (stacked.Grouped(runs), stacked.Vmapped(runs)):
        for run, trainer in enumerate(runs):
            ours, theirs = together.weights(run), list(trainer.model.parameters())
            assert all(map(torch.equal, ours, theirs))
        assert not torch.equal(together.weights(0)[0], together.weights(1)[0])


@pytest.mark.slow
def test_stacking(run_benchmark: Run) -> None:
    rates, checks = run_benchmark("stacking", *SMALL, "--turns", "6", "--seconds", "0.05", "--runs", "1")
    assert [(row["runs"], row["way"]) for row in rates] == [
        ("1", way) for way in ("processes", "streams", "vmap", "grouped")
    ]
    assert [row["target"] for row in checks] == ["<= 0.0001: met"] * 2
