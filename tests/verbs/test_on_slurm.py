"""The verbs with runs that a real Slurm trains."""

import time

import pytest

from spfde_exp.failure import CANCELLED
from spfde_exp.store import RunFolder

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

LONG = ["debug=tiny", "epochs=100000", "logger=none", "freeze=none", "runs_dir=out"]
SLURM = ["hydra/launcher=slurm", "hydra.launcher.cpus=1"]


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_runs_of_one_job_are_cancelled_one_by_one_and_the_job_with_the_last(tmp_path, run_cli, slurm):
    words = ["-m", *LONG, *SLURM, "hydra.launcher.runs_per_job=2", "seed=0,1"]
    done = run_cli(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folders = [RunFolder(path.parent) for path in sorted((tmp_path / "out").glob("*/config.yaml"))]
    wait_for(lambda: all(folder.state() == "running" for folder in folders))

    def verb(*more):
        return run_cli(*more, "--runs", "out", cwd=tmp_path, module="spfde_exp.runs")

    first, last = folders
    done = verb("cancel", first.signature)
    assert done.stdout.splitlines()[-1] == "1 of 1 run cancelled", done.stderr
    assert (first.state(), first.json("status")["failure"]) == ("failed", CANCELLED)
    assert last.state() == "running"
    assert slurm("squeue", "--noheader") != ""
    done = verb("cancel", last.signature)
    assert done.stdout.splitlines()[-1] == "1 of 1 run cancelled", done.stderr
    wait_for(lambda: slurm("squeue", "--noheader") == "")
    assert [folder.json("status")["failure"] for folder in folders] == [CANCELLED] * 2
    assert "cancelled" in verb("log", last.signature).stdout


def test_a_run_that_waits_in_the_queue_is_cancelled_and_trained_by_a_retry(tmp_path, run_cli, slurm):
    words = ["debug=tiny", "epochs=3", "logger=none", "freeze=none", "runs_dir=out"]
    slurm("scontrol", "update", "nodename=ALL", "state=drain", "reason=test")
    try:
        assert run_cli("-m", *words, *SLURM, cwd=tmp_path).returncode == 0
        (path,) = (tmp_path / "out").glob("*/config.yaml")
        folder = RunFolder(path.parent)
        assert folder.state() == "pending"
        done = run_cli("cancel", "--all", "--runs", "out", cwd=tmp_path, module="spfde_exp.runs")
        assert done.stdout.splitlines()[-1] == "1 of 1 run cancelled", done.stderr
        assert folder.state() == "failed"
        wait_for(lambda: slurm("squeue", "--noheader") == "")
    finally:
        slurm("scontrol", "update", "nodename=ALL", "state=resume")
    retry = ["retry", folder.signature, "--runs", "out", *SLURM, "hydra.launcher.wait=true"]
    done = run_cli(*retry, cwd=tmp_path, module="spfde_exp.runs")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 runs done" in done.stdout
    assert folder.state() == "done"
