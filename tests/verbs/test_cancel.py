"""Cancelling runs that wait and runs that are trained, here and on Slurm."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spfde_exp.errors import UserError
from spfde_exp.failure import CANCELLED
from spfde_exp.progress import Reader
from spfde_exp.selection import Filters, select
from spfde_exp.store import CANCEL, RunFolder
from spfde_exp.verbs import cancel
from spfde_exp.verbs.cancel import jobs_to_cancel


def ended(folder):
    return folder.state(), (folder.json("status") or {}).get("failure")


@pytest.fixture
def trainer(tmp_path):
    """Start a process that trains a run and is deaf to `.cancel`, at worst to SIGTERM too; it is killed at the end."""
    processes = []

    def start(folder, deaf=False):
        ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if deaf else ""
        code = (
            "import signal, sys, time; from spfde_exp.store import RunFolder\n"
            f"{ignore}\nwith RunFolder(sys.argv[1]).owned(): print('owned', flush=True); time.sleep(60)"
        )
        command = [sys.executable, "-c", code, str(folder.path)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "owned\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_run_that_waits_is_dropped_at_once_and_marked_for_who_would_start_it(make_run, call, capsys):
    folder, other = make_run("aaaa", "pending"), make_run("bbbb", "pending")
    call("cancel", "aaaa")
    assert ended(folder) == ("failed", CANCELLED)
    assert folder.file(CANCEL).exists()
    assert ended(other) == ("pending", None)
    assert not other.file(CANCEL).exists()
    assert capsys.readouterr().out.splitlines() == ["run aaaa is cancelled", "1 of 1 run cancelled"]


def test_a_process_that_trains_is_stopped(make_run, call, trainer):
    folder = make_run("aaaa", "pending")
    process = trainer(folder)
    call("cancel", "aaaa")
    assert process.wait(10) == -signal.SIGTERM  # the default of a process that has not asked for more
    assert ended(folder) == ("failed", CANCELLED)
    assert folder.json("status")["history"][-1]["failure"] == CANCELLED


def test_a_process_that_does_not_stop_is_told(make_run, call, trainer, monkeypatch, capsys):
    monkeypatch.setattr(cancel, "WAIT_S", 0.3)
    folder = make_run("aaaa", "pending")
    trainer(folder, deaf=True)
    with pytest.raises(UserError, match="not stopped yet: aaaa"):
        call("cancel", "aaaa")
    assert folder.state() == "running"
    assert "run aaaa is running" in capsys.readouterr().out


def test_a_process_id_on_another_host_is_nobody_here(make_run, call, monkeypatch):
    monkeypatch.setattr(cancel, "WAIT_S", 0)
    folder = make_run("aaaa", "running", host="elsewhere", pid=os.getpid(), heartbeat=time.time())
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal was sent"))
    with pytest.raises(UserError, match="not stopped yet"):
        call("cancel", "aaaa")
    assert folder.file(CANCEL).exists()


@pytest.mark.parametrize("state", ["done", "failed", "new", "running"])
def test_what_nobody_works_at_is_left_alone(make_run, call, capsys, state):
    folder = make_run("aaaa", state)  # running, without a process: stale
    before = folder.state(), folder.json("status")
    call("cancel", "aaaa")
    call("cancel", "--all")
    assert (folder.state(), folder.json("status")) == before
    assert not folder.file(CANCEL).exists()
    assert "nothing to cancel" in capsys.readouterr().out


def test_all_must_be_said(make_run, call):
    folder = make_run("aaaa", "pending")
    with pytest.raises(UserError, match="or --all"):
        call("cancel")
    assert folder.state() == "pending"


@pytest.fixture
def fake_slurm(tmp_path_factory, monkeypatch):
    """A Slurm whose queue has the jobs 7_0 and 7_1; the file with the arguments of its `scancel`."""
    path = tmp_path_factory.mktemp("slurm")
    calls = path / "calls"
    for name, text in (("squeue", "echo 7_0; echo 7_1"), ("scancel", f'echo "$@" >> {calls}')):
        (path / name).write_text(f"#!/bin/sh\n{text}\n")
        (path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(path), prepend=os.pathsep)
    return calls


def test_a_slurm_job_is_cancelled_with_the_last_of_its_runs(make_run, call, fake_slurm, monkeypatch):
    monkeypatch.setattr("spfde_exp.slurm_queue._seen", (float("-inf"), None))
    for name, job in (("aaaa", "7_0"), ("bbbb", "7_1"), ("cccc", "7_1")):
        make_run(name, "pending", slurm_job=job)
    call("cancel", "aaaa", "bbbb")
    assert fake_slurm.read_text() == "7_0\n"
    call("cancel", "cccc")
    assert fake_slurm.read_text() == "7_0\n7_1\n"


def test_a_job_counts_its_unfinished_runs_only(make_run, fake_slurm, tmp_path, monkeypatch):
    monkeypatch.setattr("spfde_exp.slurm_queue._seen", (float("-inf"), None))
    done, waits = make_run("aaaa", "done", slurm_job="7_0"), make_run("bbbb", "pending", slurm_job="7_0")
    everyone = select(tmp_path, Filters(), Reader())
    assert jobs_to_cancel({waits.path}, everyone) == ["7_0"]
    assert jobs_to_cancel({done.path}, everyone) == []


@pytest.mark.slow
def test_a_local_sweep_is_cancelled_as_a_whole(tmp_path, run_cli):
    """Two runs are trained and two wait; none is trained on, and the sweep ends, not done."""
    arguments = ["debug=tiny", "epochs=100000", "logger=none", "freeze=none", "seed=0,1,2,3", "runs_dir=out"]
    command = [sys.executable, "-m", "spfde_exp", "-m", *arguments, "hydra.launcher.slots=2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    sweep = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        states: list[str] = []
        end = time.monotonic() + 90
        while states.count("running") < 2 and time.monotonic() < end:
            folders = [RunFolder(path.parent) for path in (tmp_path / "out").glob("*/status.json")]
            states = [folder.state() for folder in folders]
            time.sleep(0.1)
        done = run_cli("cancel", "--all", "--runs", "out", cwd=tmp_path, module="spfde_exp.runs")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "4 of 4 runs cancelled"
        assert sweep.wait(30) == 1
        assert [ended(folder) for folder in folders] == [("failed", CANCELLED)] * 4
    finally:
        sweep.kill()
        sweep.communicate()
