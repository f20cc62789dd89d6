"""Locks of the kernel on files: gone with the process that held them, however it ended."""

import fcntl
import time
from pathlib import Path
from typing import IO

TRIES, PAUSE_S = 10, 0.02  # somebody who looks whether a lock is held has it for an instant


class FileLock:
    """An exclusive lock on a file, which is made if need be and never removed.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def take(self, shared: bool = False, tries: int = TRIES) -> bool:
        """Try to lock it; False where another holder, in this process or any other, forbids it.

        Args:
            shared: allow other holders that also take it shared.
            tries: how often, 20 ms apart.

        Raises:
            OSError: the file system has no locks, or the folder cannot be written.
        """
        file = self.path.open("a")
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            for left in reversed(range(tries)):
                try:
                    fcntl.flock(file, kind | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(PAUSE_S if left else 0)
                else:
                    self._file = file
                    return True
        except BaseException:
            file.close()
            raise
        file.close()
        return False

    def release(self) -> None:
        """Unlock it, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None


def is_locked(path: Path) -> bool:
    """Whether somebody on this host holds an exclusive lock on `path`; False where it does not exist.

    Where that cannot be told, as without a free file descriptor, it is taken to be held.
    """
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
