"""Average epochs of whole plans by the sparse engine: how stages are weighted, and what they are held against."""

import importlib
from pathlib import Path

import pytest

from tests.benchmarks.scripts import SMALL, Run


def test_stages_weigh_as_many_epochs_as_the_plan_gives_them(benchmarks: Path) -> None:
    savings, workload = importlib.import_module("savings"), importlib.import_module("_workload")
    overrides = ["model=resnet14", "sparsity=0.9", "freeze=0.15", "sieve=none"]
    plan = workload.plan_of(overrides)
    stages = savings.Way(overrides, plan).stages()
    assert sum(share for _, share in stages.values()) == pytest.approx(1)
    for last, share in stages.values():
        alike = [epoch for epoch, state in enumerate(plan.states) if state == plan.states[last]]
        assert (max(alike), len(alike) / 160) == (last, pytest.approx(share))


def test_an_average_epoch_is_that_of_its_stages(benchmarks: Path) -> None:
    savings, workload = importlib.import_module("savings"), importlib.import_module("_workload")
    dense, half = (
        savings.Way(overrides, workload.plan_of(["model=resnet14", "freeze=none", *overrides]))
        for overrides in (["method=dense", "sparsity=0", "sieve=none"], ["sparsity=0.9", "sieve=none"])
    )
    (whole,), stages = dense.stages(), half.stages()
    seconds = {whole: [8.0, 16.0], **{name: [2.0, 8.0] for name in stages}}
    assert savings.of_dense(seconds, half, dense) == pytest.approx([0.25, 0.5])


def test_savings(run_benchmark: Run) -> None:
    (rows,) = run_benchmark("savings", *SMALL, "--images", "80", "--sparsity", "0.9")
    wall = {row["saves"]: row for row in rows if row["clock"] == "wall"}
    assert [*wall] == ["sparsity", "freezing", "sieving", "product", "all three"]
    assert len(rows) == 2 * len(wall)
    flops = {name: 1 - float(row["FLOPs saved %"]) / 100 for name, row in wall.items()}
    assert flops["sieving"] == pytest.approx(0.85)
    assert flops["freezing"] == pytest.approx(0.85, abs=0.002)
    assert flops["product"] == pytest.approx(flops["sparsity"] * flops["freezing"] * flops["sieving"], abs=2e-4)
    for row in rows:
        assert float(row["time saved %"]) == pytest.approx(
            100 - 100 / float(row["times faster [95 %]"].split()[0]), abs=0.1
        )
