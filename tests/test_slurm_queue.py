"""Questions about Slurm's queue; `squeue` is a script that counts its calls, and the real one at the end."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spfde_exp import slurm_queue
from spfde_exp.slurm_queue import job_state, max_array_size, queued


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_queue, "_seen", (float("-inf"), None))


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A queue: its jobs are the lines of the file `jobs`; each look adds a line to `looks`."""
    (tmp_path / "jobs").write_text("12_0\n12_3\n40\n")
    (tmp_path / "looks").write_text("")
    (tmp_path / "squeue").write_text(f"#!/bin/sh\necho >> {tmp_path}/looks\ncat {tmp_path}/jobs\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def looks(folder: Path) -> int:
    return len((folder / "looks").read_text().splitlines())


def test_one_look_answers_many_questions(squeue: Path) -> None:
    assert [queued(job) for job in ("12_0", "12_1", "12_3", "40", "4", "2_0")] == [
        True,
        False,
        True,
        True,
        False,
        False,
    ]
    assert looks(squeue) == 1


def test_a_job_is_not_missed_because_the_look_is_older(squeue: Path) -> None:
    assert queued("41") is False
    (squeue / "jobs").write_text("41\n")
    assert queued("41", since=time.time()) is True
    assert looks(squeue) == 2


def test_no_slurm_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (queued("12_0"), job_state("12_0"), max_array_size()) == (None, None, None)


@pytest.mark.slurm
def test_the_real_queue(slurm: Callable[..., str]) -> None:
    job = slurm("sbatch", "--parsable", "--hold", "--array=0-2", "--output=/dev/null", "--wrap=true").strip()
    assert [queued(f"{job}_{task}") for task in range(4)] == [True, True, True, False]
    assert job_state(f"{job}_1") == "PENDING"
    assert max_array_size() == 8
    slurm("scancel", f"{job}_1")
    time.sleep(slurm_queue._FRESH_S)
    assert queued(f"{job}_1") is False
    assert job_state(f"{job}_1") is None
