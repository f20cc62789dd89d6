"""Checkpoints: the newest whole one is used, whatever happened to the other."""

import io
import logging
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp.errors import UserError
from spfde_exp.store import RunFolder
from spfde_exp.train.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path)
    for epoch in (1, 2, 3):
        save_checkpoint(folder, {"epoch": epoch, "weights": torch.full((10,), float(epoch))})
    return folder


def truncate(path, share=0.5):
    os.truncate(path, int(path.stat().st_size * share))


def test_none_yet(tmp_path):
    assert load_checkpoint(RunFolder(tmp_path)) is None


def test_the_newest_is_loaded_and_the_one_before_it_kept(folder):
    assert load_checkpoint(folder)["epoch"] == 3
    folder.file("checkpoint.pt").unlink()
    assert load_checkpoint(folder)["epoch"] == 2
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoint.prev.pt"]


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_torn_one_is_passed_over_with_a_warning(folder, share, caplog):
    truncate(folder.file("checkpoint.pt"), share)
    with caplog.at_level(logging.WARNING):
        state = load_checkpoint(folder)
    assert state["epoch"] == 2
    assert torch.equal(state["weights"], torch.full((10,), 2.0))
    assert "cannot be read" in caplog.text


@given(st.integers(0, 10**6), st.integers(1, 4096))
def test_a_hole_anywhere_is_found(tmp_path_factory, start, length):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    for epoch in (1, 2):
        save_checkpoint(
            folder, {"epoch": epoch, "weights": torch.rand(5000, generator=torch.Generator().manual_seed(0))}
        )
    path = folder.file("checkpoint.pt")
    whole = bytearray(path.read_bytes())
    start %= len(whole)
    hole = bytes(byte ^ 0xFF for byte in whole[start : start + length])
    path.write_bytes(whole[:start] + hole + whole[start + length :])
    state = load_checkpoint(folder)
    assert torch.equal(state["weights"], torch.rand(5000, generator=torch.Generator().manual_seed(0)))


def test_two_torn_ones_are_an_error_that_says_what_to_do(folder):
    truncate(folder.file("checkpoint.pt"))
    truncate(folder.file("checkpoint.prev.pt"))
    with pytest.raises(UserError, match="force=true"):
        load_checkpoint(folder)


@pytest.mark.parametrize("write", [1, 3, 7])
def test_stopped_while_it_is_written(folder, monkeypatch, write):
    """The stop comes out as such, not as an error of torch's writer, and the one before is whole."""

    class Stopping(io.BufferedWriter):
        writes = 0

        def write(self, data):
            type(self).writes += 1
            if self.writes == write:
                raise KeyboardInterrupt
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda path, mode: Stopping(io.FileIO(path, mode)))
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, {"epoch": 4, "weights": torch.rand(100_000), "more": torch.rand(100_000)})
    monkeypatch.undo()
    assert load_checkpoint(folder)["epoch"] == 3


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("made_by_a_checkpoint",))


def test_a_checkpoint_cannot_run_code(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"epoch": 9, "x": Evil()}, folder.file("checkpoint.pt"))
    assert load_checkpoint(folder)["epoch"] == 2
    assert not (tmp_path / "made_by_a_checkpoint").exists()
