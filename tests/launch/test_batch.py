"""The job of several runs, called as submitit calls it, without a Slurm around it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import cloudpickle
import pytest

from spfde_exp.config import compose
from spfde_exp.launch.batch import Batch, deal
from spfde_exp.launch.job import Order
from spfde_exp.store import CANCEL, RunFolder

JOB = "77"
ROOT = Path(__file__).resolve().parents[2]


def write_runs(runs_dir: Path, *seeds: int, device: str = "cpu", **more: object) -> list[RunFolder]:
    """Runs as a sweep leaves them for a job: configuration written, pending."""
    settings = ["debug=tiny", "epochs=3", "freeze=0", "logger=none", f"runs_dir={runs_dir}", f"device={device}"]
    settings += [f"{key}={value}" for key, value in more.items()]
    folders = []
    for seed in seeds:
        config = compose([*settings, f"seed={seed}"])
        folder = RunFolder.of(config)
        folder.path.mkdir(parents=True)
        folder.write_config(asdict(config))
        folder.set_status("pending", slurm_job=JOB)
        folders.append(folder)
    return folders


def order(folder: RunFolder) -> Order:
    return Order(str(folder.path), [], threads=1)


def call(folders: Sequence[RunFolder], retries: int = 0, sabotage: Mapping[int, str] | None = None) -> int:
    """Exit status of a process that unpickles a batch of runs and calls it."""
    batch = Batch(tuple(map(order, folders)), retries, minutes=60, signal_delay_s=10)
    code = "import pickle, sys; pickle.load(sys.stdin.buffer)()"
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent / "sabotage")])
    env = os.environ | {
        "PYTHONPATH": path,
        "SPFDE_TEST_SABOTAGE": json.dumps(dict(sabotage or {})),
        "SLURM_JOB_ID": JOB,
    }
    return subprocess.run([sys.executable, "-c", code], input=cloudpickle.dumps(batch), env=env, check=False).returncode


def history(folder: RunFolder) -> list[tuple[str, str | None]]:
    """State and failure class at the end of each attempt."""
    return [(end["state"], end["failure"]) for end in (folder.json("status") or {}).get("history", [])]


@pytest.mark.slow
def test_failed_runs_do_not_stop_the_others_and_are_tried_again_if_that_may_help(tmp_path: Path) -> None:
    good, diverged, killed = write_runs(tmp_path, 0, 1, 2)
    assert call([good, diverged, killed], retries=1, sabotage={1: "nan", 2: "die"}) == 1
    assert history(good) == [("done", None)]
    assert history(diverged) == [("failed", "nan_loss")]  # it would diverge again
    assert history(killed) == [("failed", "crash")] * 2
    assert "status -9" in (killed.json("status") or {})["error"]
    assert call([good, diverged, killed]) == 0  # what was done is left alone
    assert [len(history(folder)) for folder in (good, diverged, killed)] == [1, 2, 3]


@pytest.mark.slow
def test_a_run_that_fails_before_it_owns_its_folder_says_why(tmp_path: Path) -> None:
    (folder,) = write_runs(tmp_path, 0, **{"dataset": "cifar10", "dataset.root": tmp_path / "absent"})
    assert call([folder]) == 1
    status = folder.json("status") or {}
    assert (status["state"], status["failure"]) == ("failed", "bad_input")
    assert "absent" in status["error"] and "Traceback" not in status["error"]


def test_a_cancelled_run_is_not_begun(tmp_path: Path) -> None:
    (folder,) = write_runs(tmp_path, 0)
    folder.file(CANCEL).touch()
    assert call([folder]) == 1
    status = folder.json("status") or {}
    assert (status["state"], status["failure"], status["attempt"]) == ("failed", "cancelled", 0)
    assert not folder.file(CANCEL).exists()


def test_a_run_that_another_process_trains_is_left_to_it(tmp_path: Path) -> None:
    (folder,) = write_runs(tmp_path, 0)
    with folder.owned(slurm_job=None):
        assert call([folder]) == 0
    assert len(history(folder)) == 1


def test_gpus_are_dealt_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-a1b2")
    orders = [order(folder) for folder in write_runs(tmp_path, 0, 1, 2, device="auto")]
    assert [(o.gpu, o.runs_per_device) for o in deal(orders)] == [("3", 2), ("GPU-a1b2", 2), ("3", 2)]


def test_runs_for_the_cpu_get_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    orders = [order(folder) for folder in write_runs(tmp_path, 0) + write_runs(tmp_path, 1, device="auto")]
    assert [o.gpu for o in deal(orders)] == [None, "0"]


def test_a_job_without_gpus_leaves_devices_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    orders = [order(folder) for folder in write_runs(tmp_path, 0, device="auto")]
    assert deal(orders) == orders


def test_a_batch_that_goes_on_is_the_same_batch() -> None:
    batch = Batch((), retries=2, minutes=60, signal_delay_s=10, given_up={"a"})
    again = batch.checkpoint()
    assert again.function is batch and not again.args
