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

from spfde_exp.errors import UserError
from spfde_exp.store import STALE_S, RunFolder, writable_dir, write_atomic


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
    folder.set_status("pending")
    assert folder.state() == "pending"
    with folder.owned():
        assert folder.state() == "running"
    folder.write_json("summary", {"test_acc": 1.0})
    assert folder.state() == "done"


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


def test_a_run_whose_sweep_is_gone_does_not_wait_for_ever(folder):
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0,))
    process.start()
    process.join()
    folder.set_status("pending", pid=process.pid)
    assert folder.state() == "stale"


def test_a_file_system_without_locks_is_told_from_a_taken_run(folder, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(UserError, match="cannot be locked"), folder.owned():
        pass


@pytest.mark.parametrize("survivors", range(8))
def test_killed_while_clearing_it_is_finished_or_fresh(folder, survivors, monkeypatch):
    names = ["checkpoint.pt", "checkpoint.prev.pt", "model.pt", "summary.json", "metrics.jsonl", "meta.json"]
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
