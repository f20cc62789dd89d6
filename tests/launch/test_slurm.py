"""Sweeps on a real Slurm: a private one on this host, with arrays of 8 tasks at most."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spfde_exp.store import RunFolder

ROOT = Path(__file__).resolve().parents[2]
SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus=1")
TINY = ("debug=tiny", "logger=none", "threads=1")

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

CallSlurm = Callable[..., str]


def folders(cwd: Path) -> list[RunFolder]:
    """The runs, by seed."""
    found = [RunFolder(path.parent) for path in (cwd / "runs").glob("*/config.yaml")]
    return sorted(found, key=lambda folder: int((folder.config() or {})["seed"]))


def status(folder: RunFolder) -> dict[str, Any]:
    return folder.json("status") or {}


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


# -- one sweep, disturbed in every way: benchmarks/slurm.py in small


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("slurm_benchmark", ROOT / "benchmarks" / "slurm.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["slurm_benchmark"] = module
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "benchmarks"))
    return module


@pytest.fixture(scope="module")
def storm(
    benchmark: ModuleType, slurm_cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The sweep after all is over."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in slurm_cluster.items():
            patch.setenv(name, value)
        storm = benchmark.Storm(tmp_path_factory.mktemp("storm"), benchmark.TINY)
        storm.exit_status = storm.go()
        yield storm


def test_arrays_are_no_larger_than_the_cluster_allows(storm: Any) -> None:
    lines = [line.split(": ")[1] for line in storm.printed.splitlines() if line.startswith("submitted")]
    assert lines == ["tasks 0-7, 8 runs", "tasks 0-1, 2 runs"]


def test_each_disturbance_is_told_in_the_status_of_the_run(storm: Any) -> None:
    assert [(event.what, event.then) for event in storm.events] == [
        ("scontrol requeue", "pending"),
        ("scontrol requeue", "pending"),
        ("scancel", "failed cancelled"),
        ("node set down", "pending lost_node"),
        ("preemption", "pending"),
        ("time limit", "pending"),
    ]


def test_after_one_more_submission_every_run_is_done_once(storm: Any, benchmark: ModuleType) -> None:
    assert storm.exit_status == 0
    assert [run.state() for run in storm.runs()] == ["done"] * 10
    assert all(benchmark.done_once(run, epochs=48) for run in storm.runs())


def test_disturbed_runs_went_on_where_they_were(storm: Any) -> None:
    for event in storm.events:
        logs = "".join(path.read_text() for path in sorted(event.run.file("submitit").glob("*_log.out")))
        first = [int(line.split()[-1]) for line in logs.splitlines() if "goes on at epoch" in line]
        assert first and first[0] >= event.epochs - 1, event  # the last row may have come before its checkpoint
        assert len(status(event.run)["history"]) == len(first) + 1


def test_the_bits_are_those_of_local_runs(storm: Any, benchmark: ModuleType, tmp_path: Path) -> None:
    benchmark.spfde_exp(tmp_path, *benchmark.TINY, "hydra/launcher=inline")
    for run in storm.runs():
        assert benchmark.differences(run, RunFolder(tmp_path / "runs" / run.signature)) == []


def test_the_comparison_sees_one_flipped_bit(storm: Any, benchmark: ModuleType, tmp_path: Path) -> None:
    run, other = storm.runs()[0], RunFolder(tmp_path / "other")
    other.path.mkdir()
    for name in ("metrics.jsonl", "summary.json"):
        other.file(name).write_bytes(run.file(name).read_bytes())
    state = benchmark.torch.load(run.file("model.pt"), weights_only=True)
    name, tensor = next(iter(state["model"].items()))
    tensor.view(benchmark.torch.int32).flatten()[0] ^= 1
    benchmark.torch.save(state, other.file("model.pt"))
    assert benchmark.differences(run, other) == [f"model/{name}"]


# -- single properties


def test_packed_runs_share_a_job_which_fails_if_one_of_them_does(
    slurm: CallSlurm, run_cli: Any, tmp_path: Path
) -> None:
    options = (*SLURM, "hydra.launcher.cpus=2", "hydra.launcher.runs_per_job=2", "hydra.launcher.wait=true")
    sabotage = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent / "sabotage")]),
        "SPFDE_TEST_SABOTAGE": json.dumps({"0": "nan"}),
    }
    answer = run_cli("-m", *TINY[:2], "seed=0,1,2", *options, cwd=tmp_path, env=sabotage)
    assert answer.returncode == 1
    assert "1 of 3 runs failed (the loss of run" in answer.stderr.splitlines()[-1]
    failed, *good = folders(tmp_path)
    assert (failed.state(), status(failed)["failure"]) == ("failed", "nan_loss")
    assert [folder.state() for folder in good] == ["done", "done"]
    jobs = [status(folder)["slurm_job"] for folder in (failed, *good)]
    assert jobs[0] == jobs[1] != jobs[2]
    assert {(folder.json("meta") or {})["threads"] for folder in good} == {1}  # also in the job that is not full
    assert "JobState=FAILED" in slurm("scontrol", "show", "job", jobs[0])
    assert "JobState=COMPLETED" in slurm("scontrol", "show", "job", jobs[2])


def test_array_parallelism_holds_over_all_arrays(slurm: CallSlurm, run_cli: Any, tmp_path: Path) -> None:
    options = (*SLURM, "hydra.launcher.array_parallelism=1")
    answer = run_cli("-m", *TINY, "seed=range(0,10)", *options, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    first, second = (line.split()[3].rstrip(":") for line in answer.stdout.splitlines() if line.startswith("submitted"))
    assert "ArrayTaskThrottle=1" in slurm("scontrol", "show", "job", first)
    assert f"Dependency=afterany:{first}_*" in slurm("scontrol", "show", "job", second)
    until(lambda: any(folder.state() == "running" for folder in folders(tmp_path)))
    for _ in range(40):
        assert len(slurm("squeue", "--noheader", "--states=running").splitlines()) <= 1
        time.sleep(0.1)


def test_the_same_command_submits_nothing_twice(slurm: CallSlurm, run_cli: Any, tmp_path: Path) -> None:
    command = ("-m", *TINY, "seed=0,1", *SLURM, "hydra.launcher.sbatch={hold: true}")
    assert run_cli(*command, cwd=tmp_path).returncode == 0
    assert [folder.state() for folder in folders(tmp_path)] == ["pending", "pending"]
    jobs = [status(folder)["slurm_job"] for folder in folders(tmp_path)]
    answer = run_cli(*command, cwd=tmp_path)
    assert "2 of 2 runs are in the queue or at work already" in answer.stdout
    assert "submitted" not in answer.stdout
    assert [status(folder)["slurm_job"] for folder in folders(tmp_path)] == jobs
    slurm("scancel", jobs[0])
    until(lambda: folders(tmp_path)[0].state() == "stale")
    answer = run_cli(*command, cwd=tmp_path)
    assert "1 of 2 runs are in the queue or at work already" in answer.stdout
    assert answer.stdout.count("submitted Slurm job") == 1


def test_waiting_ends_when_a_job_has_left_the_queue(slurm: CallSlurm, run_cli: Any, tmp_path: Path) -> None:
    options = (*SLURM, "hydra.launcher.wait=true", "hydra.launcher.sbatch={hold: true}")
    command = [sys.executable, "-m", "spfde_exp", "-m", *TINY, "seed=0", *options]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: any(status(folder).get("slurm_job") for folder in folders(tmp_path)))
        (folder,) = folders(tmp_path)
        slurm("scancel", status(folder)["slurm_job"])
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "1 of 1 runs failed (its Slurm job was cancelled)" in errors.splitlines()[-1]
    assert (folder.state(), status(folder)["failure"]) == ("failed", "cancelled")


def test_a_job_without_progress_is_not_put_back_for_ever(slurm: CallSlurm, run_cli: Any, tmp_path: Path) -> None:
    """The announcement of the time limit, as Slurm sends it, to a job that is not even at its first checkpoint."""
    options = (*SLURM, "hydra.launcher.time=1", "hydra.launcher.signal_delay_s=10", "checkpoint_every=1000")
    run_cli("-m", *TINY, "epochs=1000", "seed=0", *options, cwd=tmp_path)
    (folder,) = folders(tmp_path)
    until(lambda: bool(folder.metrics()))
    job = status(folder)["slurm_job"]
    slurm("scancel", "--signal=USR2", job)
    until(lambda: folder.state() == "failed")
    assert status(folder)["failure"] == "time_limit"
    assert status(folder)["error"] == "not one checkpoint within the 1 minutes of its job; raise hydra.launcher.time"
    until(lambda: "JobState=FAILED" in slurm("scontrol", "show", "job", job))


def test_a_sweep_can_be_submitted_from_inside_a_job(slurm: CallSlurm, run_cli: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spfde_exp", "-m", *TINY, "seed=0,1", *SLURM, "hydra.launcher.sbatch={hold: true}"]
    slurm("srun", f"--chdir={tmp_path}", f"--export=ALL,PYTHONPATH={ROOT}", *command)
    jobs = [status(folder)["slurm_job"] for folder in folders(tmp_path)]
    assert [folder.state() for folder in folders(tmp_path)] == ["pending", "pending"]
    # Those that wait: srun's own job may still be ending.
    asked = slurm("squeue", "--noheader", "--array", "--states=PENDING", "--format=%i %C").splitlines()
    assert sorted(asked) == sorted(f"{job} 1" for job in jobs)


def test_what_slurm_refuses_is_told_in_one_line(slurm: CallSlurm, run_cli: Any, tmp_path: Path) -> None:
    answer = run_cli("-m", *TINY, "seed=0,1", *SLURM, "hydra.launcher.partition=moon", cwd=tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == (
        "error: Slurm refuses 2 of 2 runs (Batch job submission failed: Invalid partition name specified); change "
        "hydra.launcher.* or wait, and give the same command again"
    )
    assert [folder.state() for folder in folders(tmp_path)] == ["stale", "stale"]
