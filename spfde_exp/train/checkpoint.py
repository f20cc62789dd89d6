"""Checkpoints: the newest and the one before it, each whole or absent."""

import logging
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from spfde_exp.errors import UserError
from spfde_exp.store import RunFolder

log = logging.getLogger(__name__)
NAMES = ("checkpoint.pt", "checkpoint.prev.pt")


def save(folder: RunFolder, name: str, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values only) under `name`, atomically."""
    write_tensors(folder.file(name), state)


def write_tensors(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` by `state` (tensors and plain values only): readers see the old file or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, (KeyboardInterrupt, SystemExit)):
                raise error.__context__ from None  # torch trips over its half-written file, and hides the reason
            raise
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def save_checkpoint(folder: RunFolder, state: dict[str, Any]) -> None:
    """Write a new checkpoint and keep the one before it."""
    newest, previous = (folder.file(name) for name in NAMES)
    save(folder, "checkpoint.new.pt", state)
    if newest.exists():
        os.replace(newest, previous)
    os.replace(folder.file("checkpoint.new.pt"), newest)


def load_checkpoint(folder: RunFolder) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, on the CPU; None where none was written.

    A broken one is passed over with a warning.

    Raises:
        UserError: there are checkpoints, and none can be read.
    """
    found = [folder.file(name) for name in NAMES if folder.file(name).exists()]
    for position, path in enumerate(found):
        state = _read(path)
        if state is not None:
            if position:
                log.warning("%s cannot be read; going on from the checkpoint before it", found[0])
            return state
    if found:
        raise UserError(
            f"no checkpoint of run {folder.signature} can be read ({', '.join(str(p) for p in found)}); "
            "delete them to train from the start, or train again with force=true"
        )
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not check that its content is what was written
            if archive.testzip() is not None:
                return None
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile):
        return None
    return state if isinstance(state, dict) and "epoch" in state else None
