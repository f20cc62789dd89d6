"""Why Slurm ended a job, from lines that Slurm 22.05 wrote."""

import os
from pathlib import Path

import pytest

from spfde_exp.failure import CANCELLED, LOST_NODE, OUT_OF_MEMORY, TIME_LIMIT
from spfde_exp.slurm_ending import ending

START = "submitit INFO (2026-11-21 11:55:25,590) - Starting with JobEnvironment(job_id=1_0, hostname=vm)\n"
NOTE = "slurmstepd-n0: error: *** {} ON n0 CANCELLED AT 2026-11-21T11:55:26{} ***\n"
NODE = " DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS"
OOM = "slurmstepd: error: Detected 1 oom_kill event in StepId=2.0. Some of the step tasks have been OOM Killed.\n"


def noted(*reasons: str) -> str:
    return "".join(NOTE.format(what, reason) for reason in reasons for what in ("STEP 2.0", "JOB 2"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "job.out"


@pytest.mark.parametrize(
    ("written", "failure"),
    [
        (noted(" DUE TO TIME LIMIT"), TIME_LIMIT),
        (noted(NODE), LOST_NODE),
        (noted(""), CANCELLED),
        (OOM, OUT_OF_MEMORY),
        (OOM + noted(""), OUT_OF_MEMORY),
    ],
)
def test_the_notes_of_slurm(log: Path, written: str, failure: str) -> None:
    log.write_text(START + "epoch 1\n" + written + "srun: error: n0: task 0: Killed\n")
    found = ending(log)
    assert found is not None and found.failure == failure


@pytest.mark.parametrize("why", [" DUE TO JOB REQUEUE", " DUE TO PREEMPTION"])
def test_back_in_the_queue_is_no_failure(log: Path, why: str) -> None:
    # In its time of grace a job that is preempted has a note without a reason first.
    log.write_text(START + NOTE.format("STEP 2.0", "") + NOTE.format("JOB 2", why))
    found = ending(log)
    assert found is not None and found.failure is None


def test_a_job_that_ended_by_itself(log: Path) -> None:
    log.write_text(START + "submitit INFO - Job completed successfully\n")
    assert ending(log) is None
    assert ending(log.with_name("absent")) is None


def test_only_the_last_life_counts_or_the_one_before(log: Path) -> None:
    log.write_text(START + noted(" DUE TO TIME LIMIT") + START + noted("") + START)
    assert ending(log) is None
    before = ending(log, previous=True)
    assert before is not None and before.failure == CANCELLED


def test_a_life_that_left_no_note_ended_with_its_node(log: Path) -> None:
    log.write_text(START + "epoch 1\n" + START)
    found = ending(log, previous=True)
    assert found is not None and found.failure == LOST_NODE


@pytest.mark.parametrize(("state", "failure"), [("TIMEOUT", TIME_LIMIT), ("NODE_FAIL", LOST_NODE), ("RUNNING", None)])
def test_the_controller_is_asked_where_there_is_no_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, failure: str | None
) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        f'#!/bin/sh\n[ "$*" = "show job 1_0" ] && echo "JobId=2 ArrayJobId=1 JobState={state} Reason=x"\n'
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = ending(tmp_path / "absent", "1_0")
    assert (found and found.failure) == failure
