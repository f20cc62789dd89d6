"""CIFAR-10 and CIFAR-100 from torchvision's folder layout, downloaded once where there is a network.

Means and standard deviations are those of the MEST code base, which SpFDE builds on. CIFAR-10's deviation is
the average of the images' own deviations (over all pixels it would be 0.247).
"""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spfde_exp.errors import UserError

from .dataset import Dataset, checksum
from .lock import folder_lock

DOWNLOAD_TIMEOUT_S = 20.0


class _Facts(NamedTuple):
    class_name: str  # in torchvision.datasets
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


_FACTS = {
    "cifar10": _Facts("CIFAR10", 10, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": _Facts("CIFAR100", 100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def read(name: str, root: Path) -> Dataset:
    """50,000 training and 10,000 test images, uint8 [N, 3, 32, 32], from torchvision's folder under `root`.

    An absent folder is downloaded first. Raises UserError if that fails, or if a folder is there but damaged.
    """
    from torchvision import datasets

    facts = _FACTS[name]
    source = getattr(datasets, facts.class_name)
    folder = root / source.base_folder
    if not folder.exists():
        _fetch(name, root, source)
    try:
        parts = [source(root, train=train) for train in (True, False)]
    except RuntimeError:  # torchvision's integrity check
        raise UserError(
            f"{folder} is incomplete or corrupted (its files do not have {name}'s MD5 sums): "
            f"move it away and fetch it again with `python -m spfde_exp.data {name} --to {root}`"
        ) from None
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({_reason(error)}): check its permissions") from error
    (train_x, train_y), (test_x, test_y) = map(_tensors, parts)
    return Dataset(
        name,
        train_x,
        train_y,
        test_x,
        test_y,
        num_classes=facts.num_classes,
        mean=facts.mean,
        std=facts.std,
        scale=255.0,
        checksum=checksum(train_x, train_y, test_x, test_y),
    )


def _tensors(part: Any) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(part.targets, dtype=torch.int64)


def _fetch(name: str, root: Path, source: Any) -> None:
    """Download, unpack and check beside the final place, then rename: the folder is whole or not there."""
    folder = root / source.base_folder
    try:
        with folder_lock(root, name) as partial, _socket_timeout(DOWNLOAD_TIMEOUT_S):
            if not folder.exists():  # else another process fetched it while this one waited
                source(partial, download=True)
                (partial / source.base_folder).rename(folder)
                shutil.rmtree(partial)
    except (OSError, RuntimeError, EOFError, HTTPException) as error:
        files = [entry[0] for entry in source.train_list + source.test_list] + [source.meta["filename"]]
        raise UserError(
            f"{name} is not in {folder} (expected files: {', '.join(files)}) and could not be downloaded "
            f"({_reason(error)}): run `python -m spfde_exp.data {name} --to DIR` where there is a network, "
            f"then set dataset.root=DIR"
        ) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(getattr(error, "reason", "") or error or type(error).__name__).split())


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
