"""Runs of seconds: trained here, or as a process that can be killed, and compared to the bit."""

import subprocess
import sys
import time
from pathlib import Path

import torch

from spfde_exp.config import compose, signature
from spfde_exp.run import train
from spfde_exp.store import RunFolder

TINY = ["debug=tiny", "threads=1", "logger=none"]


def run(tmp_path: Path, *overrides: str) -> RunFolder:
    config = compose([*TINY, f"runs_dir={tmp_path}", *overrides])
    train(config, overrides)
    return RunFolder(tmp_path / signature(config))


def process(tmp_path: Path, *overrides: str, **more) -> subprocess.Popen:
    arguments = [sys.executable, "-m", "spfde_exp", *TINY, f"runs_dir={tmp_path}", *overrides]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, **more)


def timeless(folder: RunFolder) -> list[dict]:
    return [{key: value for key, value in row.items() if "time" not in key} for row in folder.metrics()]


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    a, b = (torch.load(f.file("model.pt"), weights_only=True) for f in (one, other))
    for part in ("model", "masks"):
        assert a[part].keys() == b[part].keys()
        assert all(torch.equal(a[part][key], b[part][key]) for key in a[part])
    assert timeless(one) == timeless(other)


def wait_for_epochs(folder: RunFolder, epochs: int, child: subprocess.Popen) -> None:
    deadline = time.time() + 120
    while len(folder.metrics()) < epochs:
        assert child.poll() is None, child.stderr.read()
        assert time.time() < deadline
        time.sleep(0.005)


def killed_in_epoch(tmp_path: Path, name: str, epochs: int, *overrides: str) -> RunFolder:
    folder = RunFolder(tmp_path / name)
    child = process(tmp_path, *overrides)
    wait_for_epochs(folder, epochs, child)
    child.kill()
    child.communicate()
    return folder
