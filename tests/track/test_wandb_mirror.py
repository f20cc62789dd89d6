"""Mirroring with the real wandb, offline and against a server that never answers."""

import json
import logging
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spfde_exp.errors import UserError
from spfde_exp.track.wandb_mirror import Rows, main, mirror
from spfde_exp.track.wandb_offline import read_offline
from spfde_exp.track.wandb_sink import WandbSink

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="wandb is not installed")


def test_a_finished_run_is_mirrored_whole(folder, make_row, monkeypatch, tmp_path):
    # None of these may divert an offline mirror, or be needed by it.
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("WANDB_SERVICE", "3-1-tcp-localhost-1-1")
    folder.append(*range(30))
    folder.summary()
    before = folder.contents()
    config, meta, summary = (json.loads(before[n]) for n in ("config.yaml", "meta.json", "summary.json"))

    assert WandbSink(folder.path, "offline", project="p", group="A1", tags=["mest", "90%"]).finish()

    run = read_offline(folder.path)
    assert (run.run_id, run.group, run.tags) == (meta["signature"], "A1", ["mest", "90%"])
    assert run.config == {**config, "meta": meta}
    assert run.history == [make_row(epoch) for epoch in range(30)]
    # The summary wins over the last row where they share a key (sparsity, test_acc).
    assert run.summary == {**make_row(29), **summary}
    assert run.complete
    assert folder.contents() == before
    assert not (tmp_path / "elsewhere").exists()


def test_after_a_resume_there_is_one_whole_offline_run(folder, make_row):
    killed = folder.path / "wandb" / "offline-run-20200101_000000-dead"
    killed.mkdir(parents=True)
    (killed / "run-dead.wandb").write_bytes(b":W&B\xe1\xbe\x00")  # what a SIGKILL leaves
    folder.append(*range(12))
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 12, "train_lo')

    by_hand = [sys.executable, "-m", "spfde_exp.track.wandb_mirror", str(folder.path)]
    subprocess.run(by_hand, cwd=ROOT, check=True)
    assert read_offline(folder.path).history == [make_row(epoch) for epoch in range(12)]

    rows = (folder.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "metrics.jsonl").write_text("".join(rows[:10]))  # back to the checkpoint of epoch 9
    folder.append(*range(10, 30))
    folder.summary()
    assert WandbSink(folder.path, "offline").finish()
    assert len(list((folder.path / "wandb").glob("offline-run-*"))) == 1
    assert read_offline(folder.path).history == [make_row(epoch) for epoch in range(30)]


def test_rows_are_returned_once_whole_and_across_a_cut(folder, make_row):
    path = folder.path / "metrics.jsonl"
    rows = Rows(path)
    assert rows.new(last=False) == []  # no file yet
    folder.append(0, 1)
    assert rows.new(last=False) == [make_row(0), make_row(1)]
    line = json.dumps(make_row(2))
    with path.open("a") as file:
        file.write(line[:30])
        file.flush()
        assert rows.new(last=False) == []
        file.write(line[30:] + "\n" + "}damaged{\n" + json.dumps(make_row(3)))
    assert rows.new(last=False) == [make_row(2)]  # epoch 3 may still be growing
    assert rows.new(last=True) == [make_row(3)]
    path.write_text(line + "\n")
    assert rows.new(last=True) == [make_row(2)]


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(UserError, match="no config.yaml"):
        mirror(tmp_path, mode="offline")
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes through /proc")
def test_a_server_that_never_answers_costs_the_time_out_and_leaves_no_process(
    folder, monkeypatch, caplog, alive, wait_until
):
    def processes():
        """The mirror of this folder and its wandb-core, which has a session of its own."""
        mirrors = _pids_with(str(folder.path))
        return mirrors + [core for pid in mirrors for core in _pids_with("wandb-core", "--pid", str(pid))]

    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, says nothing
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        sink = WandbSink(folder.path, "online", project="p", timeout_s=1)
        sink.start()
        assert wait_until(lambda: len(processes()) == 2)
        pids = processes()
        started = time.monotonic()
        with caplog.at_level(logging.WARNING):
            assert not sink.finish()
    assert time.monotonic() - started < 4
    assert len(caplog.records) == 1
    assert "stopped" in caplog.text
    assert wait_until(lambda: not any(map(alive, pids)), 5)


def _pids_with(*words):
    """Processes whose command line has these words at the end of its parts."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if all(any(part.endswith(word) for part in command) for word in words):
            found.append(int(entry.parent.name))
    return found
