"""How jobs are divided between arrays, and what Slurm is asked for; a script as `sbatch` keeps what it is given."""

import os
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp.errors import UserError
from spfde_exp.launch.arrays import Array, cut, hand_in, plan_arrays
from spfde_exp.launch.batch import Batch
from spfde_exp.launch.slurm import Slurm

BATCH = Batch((), retries=0, minutes=60, signal_delay_s=10)


def test_pieces_of_a_size() -> None:
    assert cut("abcdefg", 3) == [("a", "b", "c"), ("d", "e", "f"), ("g",)]


def test_arrays_without_a_limit_start_together() -> None:
    assert plan_arrays(5, largest=2, parallel=None) == [Array((0, 1), 2), Array((2, 3), 2), Array((4,), 1)]


def test_one_lane_where_one_array_is_enough() -> None:
    assert plan_arrays(5, largest=8, parallel=2) == [Array((0, 1, 2, 3, 4), 2)]


def test_arrays_of_a_lane_follow_each_other() -> None:
    # Two jobs at once, four arrays: each lane has one seat and two arrays.
    expected = [Array((0, 2), 1), Array((1, 3), 1), Array((4, 6), 1, after=0), Array((5, 7), 1, after=1)]
    assert plan_arrays(8, largest=2, parallel=2) == expected


@given(st.integers(0, 60), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 70)))
def test_every_job_is_in_one_array_and_the_limit_holds_at_every_moment(
    jobs: int, largest: int, parallel: int | None
) -> None:
    arrays = plan_arrays(jobs, largest, parallel)
    assert sorted(job for array in arrays for job in array.jobs) == list(range(jobs))
    assert all(1 <= len(array.jobs) <= largest and array.limit >= 1 for array in arrays)
    assert all(list(array.jobs) == sorted(array.jobs) for array in arrays)  # longest expected first
    assert all(array.after is None or array.after < place for place, array in enumerate(arrays))
    # At any moment at most one array of each lane is at work: that with the highest limit, at worst.
    lanes: dict[int, int] = {}
    lane_of = {}
    for place, array in enumerate(arrays):
        lane_of[place] = place if array.after is None else lane_of[array.after]
        lanes[lane_of[place]] = max(array.limit, lanes.get(lane_of[place], 0))
    if parallel is not None:
        assert sum(min(limit, jobs) for limit in lanes.values()) <= max(parallel, 0)


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script that `sbatch` was last called with; it and its environment lie in this folder."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script = 'if [ -e "$0.refuse" ]; then cat "$0.refuse" >&2; exit 1; fi\n'
    script += f'cp "$1" {tmp_path}/script; env > {tmp_path}/env; echo Submitted batch job 7\n'
    for name, text in (("sbatch", script), ("srun", "")):
        (tools / name).write_text(f"#!/bin/sh\n{text}")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def handed_in(folder: Path, launcher: Slurm, batches: int = 1, after: str | None = None) -> tuple[set[str], list[str]]:
    """Options of sbatch, and the words of the command, that Slurm gets."""
    hand_in([BATCH] * batches, folder / "logs", 2, launcher.parameters(after))
    lines = (folder / "script").read_text().splitlines()
    options = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    return options, shlex.split(lines[-1])


def test_what_the_options_become(sbatch: Path) -> None:
    launcher = Slurm(
        partition="gpu", account="lab", qos="low", constraint="a100", time=90, memory="16G", cpus=6, gpus=2,
        signal_delay_s=45, sbatch={"exclude": "n3", "exclusive": True, "nice": 5}, srun=["--mpi=none"],
    )  # fmt: skip
    options, command = handed_in(sbatch, launcher, batches=3)
    asked = {
        "--partition=gpu", "--account=lab", "--qos=low", "--constraint=a100", "--time=90", "--mem=16G",
        "--cpus-per-task=6", "--gpus-per-node=2", "--signal=USR2@45", "--exclude=n3", "--exclusive", "--nice=5",
        "--array=0-2%2", "--job-name=spfde_exp", "--requeue", "--nodes=1", "--open-mode=append",
    }  # fmt: skip
    assert options == asked | {f"--output={sbatch}/logs/%A_%a_0_log.out"}
    assert command[0] == "srun" and {"--cpus-per-task=6", "--mpi=none"} < set(command)


def test_nothing_is_asked_that_nobody_wanted(sbatch: Path) -> None:
    """No wckey in particular: submitit sends one, which some clusters refuse."""
    options, _ = handed_in(sbatch, Slurm())
    names = {option.removeprefix("--").split("=")[0] for option in options}
    assert names == {
        "cpus-per-task", "job-name", "nodes", "open-mode", "output", "requeue", "signal", "time"
    }  # fmt: skip


def test_options_of_sbatch_replace_ours(sbatch: Path) -> None:
    more = {"job-name": "mine", "requeue": None, "dependency": "singleton"}
    options, _ = handed_in(sbatch, Slurm(sbatch=more), after="12")
    assert {"--job-name=mine", "--dependency=singleton,afterany:12"} < options
    assert not {"--requeue", "--job-name=spfde_exp"} & options


def test_ids_of_jobs(sbatch: Path) -> None:
    parameters = Slurm().parameters(None)
    assert hand_in([BATCH] * 3, sbatch / "logs", 3, parameters) == ["7_0", "7_1", "7_2"]
    assert hand_in([BATCH], sbatch / "logs", 1, parameters) == ["7"]


def test_a_job_handed_in_from_inside_a_job_inherits_nothing(sbatch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_JOB_ID": "3", "SLURM_CPUS_PER_TASK": "9", "SLURM_CONF": "/c", "SBATCH_QOS": "x"}.items():
        monkeypatch.setenv(name, value)
    hand_in([BATCH], sbatch / "logs", 1, Slurm().parameters(None))
    there = [line for line in (sbatch / "env").read_text().splitlines() if line.startswith(("SLURM_", "SBATCH_"))]
    assert there == ["SLURM_CONF=/c"]  # which cluster it is
    assert os.environ["SLURM_CPUS_PER_TASK"] == "9"


def test_outside_a_job_the_users_own_defaults_stay(sbatch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("SBATCH_QOS", "x")
    hand_in([BATCH], sbatch / "logs", 1, Slurm().parameters(None))
    assert "SBATCH_QOS=x" in (sbatch / "env").read_text().splitlines()


def test_a_refusal_is_one_line(sbatch: Path) -> None:
    words = (
        "sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid partition"
    )
    (sbatch / "tools" / "sbatch.refuse").write_text(words)
    with pytest.raises(UserError, match=r"^Batch job submission failed: Invalid partition$"):
        hand_in([BATCH], sbatch / "logs", 1, Slurm().parameters(None))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"cpus": 0}, "hydra.launcher.cpus=0 is impossible; allowed: whole numbers from 1"),
        ({"retries": -1}, "hydra.launcher.retries=-1 is impossible; allowed: whole numbers from 0"),
        ({"time": 1.5}, "hydra.launcher.time=1.5 is impossible; allowed: whole numbers from 1"),
        (
            {"time": 1, "signal_delay_s": 60},
            "hydra.launcher.signal_delay_s=60 leaves nothing of hydra.launcher.time=1 minutes; allowed: less than the "
            "time",
        ),
    ],
)
def test_impossible_options(options: dict[str, int], line: str) -> None:
    with pytest.raises(UserError) as error:
        Slurm(**options)
    assert str(error.value) == line
