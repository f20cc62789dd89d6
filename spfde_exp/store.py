"""The run folder: its only reader and writer. Readable at any moment, whatever is killed when. Needs no torch."""

import fcntl
import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from spfde_exp.config import SCHEMA_VERSION, signature
from spfde_exp.errors import UserError
from spfde_exp.schema import Config

HEARTBEAT_S = 15.0  # between two signs of life of a running job
STALE_S = 120.0  # a job on another host that gave none for so long is taken for dead


def write_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text`: readers see the old file or the new one, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`, or None where there is none, or no whole one."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def writable_dir(path: Path) -> Path:
    """`path`, made if need be.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"runs_dir={path} cannot be written ({error.strerror}); choose a folder that can, with runs_dir=..."
        ) from error
    return path


def objective(summary: dict[str, Any]) -> float:
    """What a sweeper maximises: accuracy on the hold-out where there is one, else on the test set."""
    return float(summary.get("val_acc", summary["test_acc"]))


class RunFolder:
    """One run on disk: `<runs_dir>/<signature>/` with the files of the contract.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def of(cls, config: Config) -> "RunFolder":
        """The folder of the run of a resolved configuration."""
        return cls(Path(config.runs_dir) / signature(config))

    @property
    def signature(self) -> str:
        """Name of the run."""
        return self.path.name

    def file(self, name: str) -> Path:
        """Path of a file of the run."""
        return self.path / name

    # -- reading

    def config(self) -> dict[str, Any] | None:
        """The resolved configuration, without its schema version; None where there is none.

        Raises:
            UserError: a newer version of this software wrote it.
        """
        try:
            config = yaml.safe_load(self.file("config.yaml").read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return None
        if not isinstance(config, dict):
            return None
        version = config.pop("schema_version", None)
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise UserError(
                f"{self.file('config.yaml')} has schema version {version}, this software reads up to "
                f"{SCHEMA_VERSION}; update spfde_exp, or choose another runs_dir"
            )
        return config

    def json(self, name: str) -> dict[str, Any] | None:
        """The object in a JSON file of the run (`meta`, `plan`, `status`, `summary`), or None."""
        return read_json(self.file(f"{name}.json"))

    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run, else None."""
        return self.json("summary")

    def metrics(self) -> list[dict[str, Any]]:
        """One row per epoch; a torn last line is left out."""
        rows = []
        try:
            lines = self.file("metrics.jsonl").read_bytes().splitlines()
        except OSError:
            return []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def state(self) -> str:
        """`new`, `pending` (a sweep will start it), `running`, `interrupted` (its owner is gone), `failed`, `done`."""
        if self.summary() is not None:
            return "done"
        status = self.json("status")
        if status is None:
            return "new"
        if status.get("state") in ("pending", "running") and not self._alive(status):
            return "interrupted"
        return str(status.get("state"))

    def _alive(self, status: dict[str, Any]) -> bool:
        if status.get("host") != socket.gethostname():
            return bool(time.time() - float(status.get("heartbeat") or 0) < STALE_S)
        if status.get("state") == "running":
            return self._locked()
        try:
            os.kill(int(status["pid"]), 0)
        except (ProcessLookupError, KeyError, ValueError):
            return False
        except PermissionError:
            return True
        return True

    def _locked(self) -> bool:
        """Whether a process of this host holds the lock; a process id alone may have been used again."""
        try:
            with self.file(".lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    # -- writing

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Replace a JSON file of the run."""
        write_atomic(self.file(f"{name}.json"), json.dumps(value, indent=1) + "\n")

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.yaml with the schema version."""
        write_atomic(self.file("config.yaml"), yaml.safe_dump({"schema_version": SCHEMA_VERSION, **config}))

    def set_status(self, state: str, **more: Any) -> None:
        """Write status.json; what is not given stays as it was."""
        status = self.json("status") or {"attempt": 0, "error": None}
        status |= {"state": state, "host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time(), **more}
        self.write_json("status", status)

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one epoch, on disk before this returns."""
        with self.file("metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def truncate_metrics(self, epochs: int) -> None:
        """Keep the rows of the first `epochs` epochs only."""
        rows = [row for row in self.metrics() if row["epoch"] < epochs]
        write_atomic(self.file("metrics.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))

    def clear(self) -> None:
        """Remove the results of an earlier training, to train again."""
        # Checkpoints first: killed in between, the folder is a finished run or a fresh one, nothing in between.
        checkpoints = ("checkpoint.new.pt", "checkpoint.prev.pt", "checkpoint.pt", "model.pt")
        for name in (*checkpoints, "summary.json", "metrics.jsonl", "meta.json"):
            self.file(name).unlink(missing_ok=True)
        shutil.rmtree(self.file("wandb"), ignore_errors=True)

    # -- ownership

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's lock: no other process writes to the folder. The kernel drops it when the process dies.

        Raises:
            UserError: another process, here or on another host, is training this run; or the file system has no
                locks.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self.file(".lock").open("a") as lock:
            status = self.json("status") or {}
            taken = status.get("host") != socket.gethostname() and self.state() == "running"
            try:
                taken = taken or not self._take(lock)
            except OSError as error:
                raise UserError(
                    f"{self.path} cannot be locked ({error.strerror}); choose a runs_dir on a file system with locks"
                ) from error
            if taken:
                raise UserError(
                    f"run {self.signature} is being trained by process {status.get('pid')} on "
                    f"{status.get('host')}; wait for it, or stop it first"
                )
            yield

    @staticmethod
    def _take(lock: IO[str]) -> bool:
        for _ in range(10):  # a reader that looks whether the lock is held has it for an instant
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(0.02)
        return False

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Train the run: hold its lock, with a heartbeat in status.json.

        Leaving with an exception marks the run failed, or pending when it was interrupted from the keyboard.

        Raises:
            UserError: as `locked`.
        """
        with self.locked():
            attempt = int((self.json("status") or {}).get("attempt") or 0) + 1
            self.set_status("running", attempt=attempt, error=None)
            stop = threading.Event()
            beat = threading.Thread(target=self._beat, args=(stop,), daemon=True)
            beat.start()
            end: dict[str, Any] = {"state": "done", "error": None}
            try:
                yield
            except BaseException as error:
                interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
                reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                end = {"state": "pending" if interrupted else "failed", "error": reason}
                raise
            finally:
                stop.set()
                beat.join()
                self.set_status(**end)

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_S):
            self.set_status("running")
