"""A hand-made run folder, and a wandb that fails on demand."""

import json
import os
import time
from pathlib import Path

import pytest

SIGNATURE = "0123456789abcdef" * 4
CONFIG = {
    "method": {"name": "mest_ems", "init": "random"},
    "sparsity": {"target": 0.9, "distribution": None},
    "optim": {"milestones": [90, 120], "nesterov": False, "lr": 0.1},
    "seed": 0,
}
META = {"signature": SIGNATURE, "overrides": ["sparsity=0.9"], "git": {"commit": "abc", "dirty": True}}
SUMMARY = {"signature": SIGNATURE, "test_acc": 71.25, "sparsity": 0.9, "train_flops": 1.42e15, "epochs": 30}


def make_row(epoch):
    """One epoch: 20 keys, with the kinds of value that JSON knows."""
    row = {
        "epoch": epoch,
        "train_loss": 2.3 / (epoch + 1),
        "test_acc": None if epoch % 5 else 60.0 + epoch / 7,
        "sparsity": 0.85,
        "frozen_blocks": epoch // 10,
        "epoch_flops": 1.3e13 + epoch,
        "memory_bytes": 2**40 + epoch,
        "per_block": [0.5, epoch],
        "by_kind": {"weights": epoch, "activations": 1.5},
        "phase": "dst",
    }
    return {**row, **{f"extra{i}": (epoch + 1) / (i + 3) for i in range(10)}}


class RunFolder:
    def __init__(self, path):
        self.path = path
        path.mkdir()
        (path / "config.yaml").write_text(json.dumps(CONFIG))  # JSON is YAML
        (path / "meta.json").write_text(json.dumps(META))
        self.status("running")

    def append(self, *epochs):
        with (self.path / "metrics.jsonl").open("a") as file:
            file.writelines(json.dumps(make_row(epoch)) + "\n" for epoch in epochs)

    def status(self, state):
        (self.path / "status.json").write_text(json.dumps({"state": state}))

    def summary(self):
        (self.path / "summary.json").write_text(json.dumps(SUMMARY))

    def contents(self):
        """Every file of the run, less what the sink adds."""
        return {p.name: p.read_bytes() for p in self.path.iterdir() if p.is_file() and p.name != "wandb.log"}


@pytest.fixture
def folder(tmp_path):
    """A run folder of a run that has begun."""
    return RunFolder(tmp_path / SIGNATURE)


class FakeWandb:
    def __init__(self, calls, monkeypatch):
        self._file = calls
        self._monkeypatch = monkeypatch

    def fault(self, name):
        self._monkeypatch.setenv("FAKE_WANDB", name)

    def calls(self, kind):
        if not self._file.exists():
            return []
        lines = self._file.read_text().split("\n")[:-1]
        return [call for call in map(json.loads, lines) if call["call"] == kind]

    def steps(self):
        return [call["step"] for call in self.calls("log")]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """wandb replaced by tests/track/fake_wandb for child processes."""
    module = str(Path(__file__).parent / "fake_wandb")
    calls = tmp_path / "calls.jsonl"
    monkeypatch.syspath_prepend(module)
    monkeypatch.setenv("PYTHONPATH", module)
    monkeypatch.setenv("FAKE_WANDB_CALLS", str(calls))
    return FakeWandb(calls, monkeypatch)


def wait_until(condition, seconds=15.0):
    """True as soon as the condition holds, False when it does not within the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def alive(pid):
    """Whether a process runs; a zombie that nobody has reaped does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.fixture(name="alive")
def alive_fixture():
    return alive


@pytest.fixture(name="wait_until")
def wait_until_fixture():
    return wait_until


@pytest.fixture(name="make_row")
def make_row_fixture():
    return make_row
