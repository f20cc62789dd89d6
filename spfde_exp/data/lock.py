"""One process at a time fills a folder that many may wait for; whoever fails leaves nothing behind."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ATTEMPTS = 100


@contextmanager
def folder_lock(root: Path, name: str) -> Iterator[Path]:
    """Hold ``root/.<name>.lock`` and yield the path of a partial folder, ``root/.<name>.partial-<pid>``.

    `root` is created if need be, the partial folder is not. On leaving, the partial folder, the lock and each
    folder created here that is still empty are removed. Raises OSError if `root` cannot be written or locked.
    """
    created: list[Path] = []
    lock = root / f".{name}.lock"
    descriptor = _acquire(lock, created)
    try:
        # A partial folder that exists while nobody else holds the lock is a killed process's.
        for stale in root.glob(f".{name}.partial-*"):
            shutil.rmtree(stale, ignore_errors=True)
        partial = root / f".{name}.partial-{os.getpid()}"
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        lock.unlink(missing_ok=True)
        for folder in created:
            with suppress(OSError):  # not empty
                folder.rmdir()
        os.close(descriptor)


def _acquire(lock: Path, created: list[Path]) -> int:
    """Descriptor of the locked file; the folders made for it are added to `created`, deepest first."""
    root = lock.parent
    for _ in range(_ATTEMPTS):
        missing = [folder for folder in (root, *root.parents) if not folder.exists()]
        created += [folder for folder in missing if folder not in created]
        try:
            root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the holder before us failed and removed the folder just now
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # The holder before us removes the file: then this is a lock on a name that is gone.
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise OSError(f"cannot lock {lock}")
