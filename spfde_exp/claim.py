"""Who may train a run: one process, on one host or on several that share a file system.

The kernel's lock on `.lock` decides between processes of one host, and is gone the moment its holder dies. Between
hosts, where such a lock may be unknown, a file `.owner.<n>` decides: whoever makes the next number owns the run. A
number can be made once only (a hard link is atomic, on NFS too), and only when the owner before has let go, is gone
from this host, or has given no sign of life for `STALE_S`. An owner that was taken for dead finds a higher number
and must stop.
"""

import json
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spfde_exp.errors import UserError
from spfde_exp.locks import FileLock

HEARTBEAT_S = 15.0  # between two signs of life of an owner
STALE_S = 120.0  # an owner on another host that gave none for so long is taken for dead


class Taken(UserError):
    """Another process trains this run; `owner` has its `pid` and `host`, where they are known."""

    def __init__(self, run: str, owner: Mapping[str, Any]) -> None:
        who = f"process {owner['pid']} on {owner.get('host')}" if owner.get("pid") else "another process"
        super().__init__(f"run {run} is being trained by {who}; wait for it, or stop it first")


class Claim:
    """The right to train the run in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / ".lock")
        self._mine: Path | None = None

    def take(self) -> None:
        """Own the run.

        Raises:
            Taken: somebody does already.
            UserError: the file system has no locks.
        """
        gone = self.lock()
        try:
            self._make(gone + 1)
        except BaseException:
            self._lock.release()
            raise

    def lock(self) -> int:
        """Keep other owners of this host away for a short write. Raises as `take`.

        Returns:
            The number of the last owner, who is gone; 0 where there was none.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if not self._lock.take():
                raise self._taken()
        except OSError as error:
            raise self._unlockable(error) from error
        last = self._newest()
        if self._alive_elsewhere(last):
            self._lock.release()
            raise self._taken()
        return last

    def release(self) -> None:
        """Let go."""
        if self._mine is not None and self.held():
            self._replace(self._mine, {"released": True})
        self._mine = None
        self._lock.release()

    def beat(self) -> None:
        """Give a sign of life."""
        if self._mine is not None and self.held():
            os.utime(self._mine)

    def held(self) -> bool:
        """Whether this process still owns the run: nobody took it for dead, and the folder is still there."""
        mine = self._mine
        return mine is not None and mine.exists() and self._newest() == _number(mine)

    # -- numbers

    def _newest(self) -> int:
        return max((_number(path) for path in self.folder.glob(".owner.*")), default=0)

    def _file(self, number: int) -> Path:
        return self.folder / f".owner.{number}"

    def _make(self, number: int) -> None:
        mine = self._file(number)
        record = {"host": socket.gethostname(), "pid": os.getpid(), "slurm_job": slurm_job()}
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".owner-")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(record, file)
            os.link(name, mine)
        except FileExistsError:
            raise self._taken() from None
        except OSError as error:
            raise self._unlockable(error) from error
        finally:
            os.unlink(name)
        if self._newest() != number:  # we looked long ago: others have come and gone
            mine.unlink(missing_ok=True)
            raise self._taken()
        self._mine = mine
        for path in self.folder.glob(".owner.*"):
            if _number(path) < number:
                path.unlink(missing_ok=True)

    def _alive_elsewhere(self, number: int) -> bool:
        record = self._record(number)
        if not number or record.get("released") or record.get("host") == socket.gethostname():
            return False  # of this host: we have its lock, so it is gone
        if record.get("slurm_job") and record["slurm_job"] == slurm_job():
            return False  # this very job before it was put back into the queue
        return self._age(self._file(number)) < STALE_S

    def _record(self, number: int) -> dict[str, Any]:
        try:
            record = json.loads(self._file(number).read_text())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def _age(self, path: Path) -> float:
        """Seconds since the last sign of life, by the clock of the file system: hosts may disagree on the time."""
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".owner-") as now:
            try:
                return os.stat(now.name).st_mtime - path.stat().st_mtime
            except FileNotFoundError:
                return float("inf")

    def _replace(self, path: Path, record: dict[str, Any]) -> None:
        temporary = path.with_name(f".owner-{os.getpid()}-{time.monotonic_ns()}")
        temporary.write_text(json.dumps(record))
        os.replace(temporary, path)

    def _unlockable(self, error: OSError) -> UserError:
        return UserError(
            f"{self.folder} cannot be locked ({error.strerror}); choose a runs_dir on one with locks and links"
        )

    def _taken(self) -> Taken:
        return Taken(self.folder.name, self._record(self._newest()))


def slurm_job() -> str | None:
    """Id of the Slurm job around this process, ``12`` or ``12_3`` for a task of an array; None outside one."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def _number(path: Path) -> int:
    text = path.name.rpartition(".")[2]
    return int(text) if text.isdigit() else 0
