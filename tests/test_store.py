"""The run folder: readable at any moment, trained by one process at a time."""

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp import store
from spfde_exp.errors import UserError
from spfde_exp.files import writable_dir, write_atomic
from spfde_exp.locks import FileLock
from spfde_exp.store import STALE_S, RunFolder


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "0123456789abcdef"
    path.mkdir()
    return RunFolder(path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.json"
    write_atomic(path, "old")
    with pytest.raises(TypeError):
        write_atomic(path, 1)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@given(st.integers(0, 200))
def test_metrics_survive_a_tear_at_any_byte(tmp_path_factory, cut):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    rows = [{"epoch": epoch, "test_acc": 10.5 * epoch} for epoch in range(5)]
    for row in rows:
        folder.append_metrics(row)
    path = folder.file("metrics.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    read = folder.metrics()
    assert read == rows[: len(read)]
    assert len(read) >= whole[:cut].count(b"\n")


def test_truncating_metrics_drops_what_the_checkpoint_does_not_know(folder):
    for epoch in range(4):
        folder.append_metrics({"epoch": epoch})
    folder.truncate_metrics(2)
    assert folder.metrics() == [{"epoch": 0}, {"epoch": 1}]


def test_states(folder):
    assert folder.state() == "new"
    with folder.owned():
        assert folder.state() == "running"
    assert folder.state() == "stale"  # its process said it was done, and there is no summary
    folder.write_json("summary", {"test_acc": 1.0})
    assert folder.state() == "done"


def test_a_run_waits_while_its_sweep_lives(folder):
    alive = folder.path.parent / ".sweeps" / "s" / "alive"
    alive.parent.mkdir(parents=True)
    sweep = FileLock(alive)
    sweep.take()
    folder.set_status("pending", sweep="s")
    assert folder.state() == "pending"
    sweep.release()
    assert folder.state() == "stale"
    folder.set_status("pending", sweep="s", host="elsewhere")  # whose locks may be unknown here
    assert folder.state() == "pending"
    os.utime(alive, (time.time() - STALE_S - 60,) * 2)
    assert folder.state() == "stale"


def test_a_dead_process_is_told_from_a_living_one(folder):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(str(folder.path), ready))
    process.start()
    assert ready.wait(60)
    assert folder.state() == "running"
    process.kill()
    process.join()
    assert folder.state() == "stale"


def test_a_process_id_that_was_used_again_is_no_sign_of_life(folder):
    folder.set_status("running", pid=os.getpid())
    assert folder.state() == "stale"


def test_a_file_system_without_locks_is_told_from_a_taken_run(folder, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(UserError, match="cannot be locked"), folder.owned():
        pass


@pytest.mark.parametrize("survivors", range(8))
def test_killed_while_clearing_it_is_finished_or_fresh(folder, survivors, monkeypatch):
    names = ["checkpoint.pt", "checkpoint.prev.pt", "summary.json", "model.pt", "metrics.jsonl", "meta.json"]
    for name in names:
        folder.file(name).write_text("{}")
    removed = []
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if len(removed) == 7 - survivors:
            raise KeyboardInterrupt
        removed.append(path.name)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with contextlib.suppress(KeyboardInterrupt):
        folder.clear()
    checkpoints = [name for name in names[:2] if folder.file(name).exists()]
    assert folder.file("summary.json").exists() or not checkpoints
    assert folder.file("model.pt").exists() or not folder.file("summary.json").exists()


def test_what_is_done_stays_done_when_its_mirror_fails(folder):
    with pytest.raises(KeyboardInterrupt), folder.owned():
        folder.write_json("summary", {"test_acc": 1.0})
        raise KeyboardInterrupt
    assert folder.json("status")["state"] == "done"


def test_a_full_disk_does_not_end_the_heartbeat(folder, monkeypatch):
    monkeypatch.setattr(store, "HEARTBEAT_S", 0.05)
    set_status, failures = RunFolder.set_status, iter([OSError(28, "No space left on device")] * 3)

    def full_for_a_while(self, state, **more):
        if state == "running" and not more and (error := next(failures, None)):
            raise error
        set_status(self, state, **more)

    monkeypatch.setattr(RunFolder, "set_status", full_for_a_while)
    with folder.owned():
        begin = folder.json("status")["heartbeat"]
        end = time.monotonic() + 20
        while folder.json("status")["heartbeat"] == begin:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.parametrize(("age", "state"), [(0, "running"), (STALE_S + 60, "stale")])
def test_another_host_is_alive_while_its_heart_beats(folder, age, state):
    folder.set_status("running", host="elsewhere", heartbeat=time.time() - age)
    assert folder.state() == state


def test_a_running_run_on_another_host_is_not_taken(folder):
    folder.set_status("running", host="elsewhere", pid=1)
    with pytest.raises(UserError, match="process 1 on elsewhere"), folder.owned():
        pass
    assert folder.json("status")["host"] == "elsewhere"


def test_a_dead_owner_is_taken_over(folder):
    folder.set_status("running", host="elsewhere", heartbeat=time.time() - STALE_S - 60, attempt=3)
    with folder.owned():
        status = folder.json("status")
    assert (status["host"], status["pid"], status["attempt"]) == (socket.gethostname(), os.getpid(), 4)


def hold(path: str, ready) -> None:
    with RunFolder(path).owned():
        ready.set()
        time.sleep(60)


def test_two_processes_never_own_one_run(folder):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(str(folder.path), ready))
    process.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match=f"by process {process.pid}"), folder.owned():
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with folder.owned():
        assert folder.state() == "running"


@pytest.mark.parametrize(
    ("error", "state"), [(RuntimeError("boom"), "failed"), (KeyboardInterrupt(), "pending"), (SystemExit(1), "pending")]
)
def test_leaving_with_an_error_says_so(folder, error, state):
    with pytest.raises(type(error)), folder.owned():
        raise error
    status = folder.json("status")
    assert status["state"] == state
    assert type(error).__name__ in status["error"]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"schema_version": '])
def test_broken_files_read_as_absent(folder, content):
    folder.file("summary.json").write_text(content)
    folder.file("config.yaml").write_text(content if content != "[1]" else "- 1\n")
    assert folder.summary() is None
    assert folder.config() is None


def test_configuration_round_trips_without_its_version(folder):
    folder.write_config({"seed": 3, "optim": {"lr": 0.1}})
    assert "schema_version: 1" in folder.file("config.yaml").read_text()
    assert folder.config() == {"seed": 3, "optim": {"lr": 0.1}}


@pytest.mark.parametrize("version", [2, "x", None])
def test_an_unknown_schema_version_is_refused(folder, version):
    folder.file("config.yaml").write_text(json.dumps({"schema_version": version, "seed": 0}))
    with pytest.raises(UserError, match="schema version"):
        folder.config()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*runs_dir="):
        writable_dir(tmp_path / "file" / "runs")


def test_bytes_that_are_no_text_are_passed_over(folder):
    folder.append_metrics({"epoch": 0})
    with folder.file("metrics.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\n")
    folder.file("config.yaml").write_bytes(b"\xff\xfe")
    folder.file("status.json").write_text(json.dumps({"state": "running", "host": socket.gethostname()}))
    assert (folder.metrics(), folder.config(), folder.state()) == ([{"epoch": 0}], None, "stale")


# -- attempts that Slurm ended


def ended_by_slurm(make_run, *lines):
    """A run whose process is gone without a word; its job 7_1 wrote `lines` and has left the queue."""
    run = make_run("aa", state="running", attempt=1, sweep="s", slurm_job="7_1")
    log = run.path.parent / ".sweeps" / "s" / "slurm" / "7_1_0_log.out"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"{line}\n" for line in lines))
    return run


BEGINS = "submitit INFO - Starting with JobEnvironment(job_id=7_1)"
LIMIT = "slurmstepd: error: *** JOB 9 ON n0 CANCELLED AT 2026-11-21T11:59:07 DUE TO TIME LIMIT ***"


def test_the_next_submission_finds_out_why_slurm_ended_the_job(make_run):
    run = ended_by_slurm(make_run, BEGINS, LIMIT)
    run.bury()
    status = run.json("status")
    assert (status["state"], status["failure"]) == ("failed", "time_limit")
    assert [(end["attempt"], end["failure"]) for end in status["history"]] == [(1, "time_limit")]


def test_the_same_job_started_again_finds_out_why_it_was_ended(make_run, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    run = ended_by_slurm(make_run, BEGINS, "epoch 1", BEGINS)  # the node lost its power: nobody could write a note
    with run.owned(slurm_job="7_1"):
        status = run.json("status")
    assert (status["state"], status["failure"], status["attempt"]) == ("running", None, 2)
    assert [end["failure"] for end in status["history"]] == ["lost_node"]


def test_what_the_process_could_not_know_is_added_to_its_last_attempt(make_run):
    run = make_run("aa", state="pending", attempt=1, history=[{"attempt": 1, "state": "pending", "failure": None}])
    run.judge("failed", "cancelled", "its Slurm job was cancelled")
    status = run.json("status")
    assert (status["state"], status["failure"], status["error"]) == (
        "failed",
        "cancelled",
        "its Slurm job was cancelled",
    )
    assert status["history"] == [{"attempt": 1, "state": "failed", "failure": "cancelled"}]
