"""Torchvision's own downloads: once, whole or not at all, and one clear line when one fails."""

import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from spfde_exp.errors import UserError

from .lock import folder_lock

DOWNLOAD_TIMEOUT_S = 20.0


def read_or_fetch(
    name: str, root: Path, folder: str, files: Sequence[str], source: Callable[..., Any]
) -> tuple[Any, Any]:
    """Training and test part of a torchvision data set in ``root/folder``; an absent folder is downloaded first.

    Args:
        files: what `folder` should hold, for the message.
        source: torchvision's class, ``source(root, train=..., download=...)``.

    Raises:
        UserError: the download fails, or a folder is there but damaged.
    """
    place = root / folder
    if not place.exists():
        _fetch(name, root, folder, files, source)
    try:
        return source(root, train=True), source(root, train=False)
    except OSError as error:
        raise UserError(f"{place} cannot be read ({_reason(error)}): check its permissions") from error
    except (RuntimeError, ValueError, TypeError, AssertionError, LookupError):  # torchvision's checks of what it reads
        raise damaged(name, root, folder) from None


def damaged(name: str, root: Path, folder: str) -> UserError:
    """What to say of a folder whose files are not all there, or not those of the set."""
    return UserError(
        f"{root / folder} is incomplete or corrupted (its files are not those of {name}): "
        f"move it away and fetch it again with `python -m spfde_exp.data {name} --to {root}`"
    )


def _fetch(name: str, root: Path, folder: str, files: Sequence[str], source: Callable[..., Any]) -> None:
    """Download, unpack and check beside the final place, then rename: the folder is whole or not there."""
    place = root / folder
    try:
        with folder_lock(root, name) as partial, _socket_timeout(DOWNLOAD_TIMEOUT_S):
            if not place.exists():  # else another process fetched it while this one waited
                source(partial, train=True, download=True)
                (partial / folder).rename(place)
                shutil.rmtree(partial)
    except (OSError, RuntimeError, EOFError, HTTPException) as error:
        raise UserError(
            f"{name} is not in {place} (expected files: {', '.join(files)}) and could not be downloaded "
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
