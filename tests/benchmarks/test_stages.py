"""Tables A11 and A12 on this machine: the weights of the stages, and the FLOPs that times are held against."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from spfde_exp.config import compose
from spfde_exp.plan import make_plan
from tests.benchmarks.scripts import SMALL, Run, Table

SIZES = ("--images", "80", "--freeze-images", "16", "--turns", "6")


@pytest.fixture
def freezing(run_benchmark: Run) -> list[Table]:
    return run_benchmark("stages", *SMALL, *SIZES, "--only", "freeze")


def test_a_run_that_halves_its_second_half_saves_a_quarter(benchmarks: Path) -> None:
    stages = importlib.import_module("stages")
    assert stages.saved_time({"0": [10.0, 20.0], "5": [5.0, 10.0]}, {"0": 0.5, "5": 0.5}) == [0.25, 0.25]


def test_an_epoch_is_told_from_slices_beside_those_of_another(benchmarks: Path) -> None:
    """Six slices of 2 s and five of 1 s on a machine that is half as fast for a while, and once stands still."""
    lockstep = importlib.import_module("_lockstep")
    slices = {"0": [2.5, 2.0, 4.0, 4.0, 2.0, 9.0, 2.1], "half": [1.5, 1.0, 2.0, 2.0, 8.0, 1.2]}
    epochs = lockstep.epochs_of(slices, "0")
    assert epochs["0"] == pytest.approx(2.5 + 4.0 * (5 + 2.1 / 9.0))
    assert epochs["half"] == pytest.approx(1.5 + 4.0 * (4 * 0.5 + 1.2 / 9.0))


def test_epochs_in_lockstep_are_those_of_the_trainer(benchmarks: Path) -> None:
    """Two trainers take turns, and end as they would alone; what fails is told."""
    lockstep, workload = importlib.import_module("_lockstep"), importlib.import_module("_workload")
    data = workload.images(56, None)
    overrides = ["model=resnet14", "model.width=0.25", "optim.batch_size=8", "freeze=none"]

    def make(sieve: str) -> Any:
        trainer = workload.trainer_for([*overrides, f"sieve={sieve}"], data, torch.device("cpu"))
        trainer.start_epoch(0)
        return trainer

    apart, together = ({name: make(name) for name in ("0", "0.25")} for _ in range(2))
    for trainer in apart.values():
        trainer.train_epoch(0)
    wall, cpu = lockstep.lockstep(together, 0, 2)
    assert {name: len(slices) for name, slices in wall.items()} == {"0": 4, "0.25": 3}
    assert {name: len(slices) for name, slices in cpu.items()} == {"0": 4, "0.25": 3}
    assert min(min(slices) for slices in wall.values()) > 0
    for name, trainer in together.items():
        for key, value in trainer.model.state_dict().items():
            assert torch.equal(value, apart[name].model.state_dict()[key])
    together["0"].batches.batch_size = 0
    with pytest.raises(ZeroDivisionError):
        lockstep.lockstep(together, 1, 2)


def test_freezing(freezing: list[Table]) -> None:
    saved, stages = freezing
    wall = {row["FLOPs reduction asked"]: row for row in saved if row["clock"] == "wall"}
    assert [*wall] == ["0.1", "0.15", "0.2", "0.25"]
    assert len(saved) == 2 * len(wall)
    for target, row in wall.items():
        epochs = [int(stage[f"epochs at {target}"]) for stage in stages]
        plan = make_plan(compose(["recipe=cifar100", "model=resnet14", "model.width=0.25", f"freeze={target}"]))
        assert epochs == [plan.freeze.frozen.count(int(stage["frozen"])) for stage in stages]
        assert sum(epochs) == 160
        # Told by the plan from the blocks' shares, and by counting the FLOPs of every stage.
        counted = 1 - sum(n * float(stage["simulated FLOPs"]) for n, stage in zip(epochs, stages, strict=True)) / 160
        assert float(row["FLOPs saved %"]) == pytest.approx(100 * counted, abs=0.1)
        assert row["target"].startswith(">= 1:")
    # Table A11: 8.93 % for 10 %, 23.67 % for 25 %.
    assert (wall["0.1"]["paper's"], wall["0.25"]["paper's"]) == ("0.893", "0.947")


def test_sieving(run_benchmark: Run) -> None:
    (saved,) = run_benchmark("stages", *SMALL, *SIZES, "--only", "sieve")
    wall = [row for row in saved if row["clock"] == "wall"]
    assert [row["FLOPs saved %"] for row in wall] == ["10.00", "15.00", "20.00", "25.00"]
    # Table A12: 9.14 % for 10 %, 24.39 % for 25 %.
    assert [row["paper's"] for row in wall] == ["0.914", "0.959", "0.955", "0.976"]
    assert [row["target"].split(":")[0] for row in wall] == [">= 0.93", ">= 0.93", ">= 0.97", ">= 0.97"]


@pytest.mark.slow
def test_real_images(run_benchmark: Run, data_root: Path) -> None:
    (saved,) = run_benchmark("stages", *SMALL, *SIZES, "--only", "sieve", "--data", str(data_root))
    assert len(saved) == 8
