"""The model after each epoch, kept below the run folder until it can be compared with the final one."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from spfde_exp.errors import UserError
from spfde_exp.train.checkpoint import write_tensors

State = dict[str, dict[str, Tensor]]  # "model": parameters and buffers, "masks"


class Snapshots:
    """One file per epoch, whole or absent.

    Attributes:
        path: their folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, epoch: int) -> Path:
        """Where the snapshot of an epoch lies."""
        return self.path / f"{epoch:04d}.pt"

    def save(self, epoch: int, model: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Keep the model after an epoch; an earlier snapshot of it is replaced."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_tensors(self.file(epoch), {"model": dict(model), "masks": dict(masks)})

    def load(self, epoch: int, device: torch.device | str = "cpu") -> State:
        """The model after an epoch, on `device`.

        Raises:
            UserError: it is not there, or cannot be read.
        """
        try:
            state: State = torch.load(self.file(epoch), map_location=device, weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError) as error:
            raise lost(self.file(epoch)) from error
        return state

    def check(self, epochs: int) -> None:
        """Raises UserError if one of the first `epochs` is missing."""
        for epoch in range(epochs):
            if not self.file(epoch).is_file():
                raise lost(self.file(epoch))

    def clear(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.path, ignore_errors=True)


def lost(path: Path) -> UserError:
    """What to say where a hook misses a file of an epoch that is past."""
    return UserError(f"{path} is missing or broken, and its epoch is past; train this run again with force=true")
