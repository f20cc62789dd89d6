"""What a sweep was: a record in `<runs_dir>/.sweeps/<id>/`, with the code that it was submitted with."""

import hashlib
import json
import os
import secrets
import shlex
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from spfde_exp.files import read_json, write_atomic
from spfde_exp.locks import FileLock
from spfde_exp.provenance import code_diff, code_digest, code_version
from spfde_exp.store import ALIVE, SWEEPS


class SweepRecord:
    """One submission of runs.

    Attributes:
        id: its name, which tells when it was made.
        path: its folder.
    """

    def __init__(self, path: Path) -> None:
        self.id, self.path = path.name, path
        self._alive = FileLock(path / ALIVE)

    @classmethod
    def write(cls, runs_dir: Path, launcher: str, runs: Mapping[str, str]) -> "SweepRecord":
        """Put down what is about to be trained: the command, the runs (signature -> settings) and the code."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        record = cls((runs_dir / SWEEPS / name).absolute())
        record.path.mkdir(parents=True)
        diff = code_diff()
        write_atomic(record.path / "code.diff", diff)
        content = {
            "id": name,
            "command": shlex.join(sys.argv),
            "folder": os.getcwd(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "submitted": time.time(),
            "launcher": launcher,
            "code": code_version()
            | {"digest": code_digest(), "diff_sha256": hashlib.sha256(diff.encode()).hexdigest() if diff else None},
            "runs": dict(runs),
        }
        write_atomic(record.path / "sweep.json", json.dumps(content, indent=1) + "\n")
        record._alive.take()
        return record

    @property
    def lifeline(self) -> Path:
        """A file that is locked while the process of this sweep lives."""
        return self._alive.path

    def touch(self) -> None:
        """Say, to other hosts too, that this sweep lives."""
        with suppress(FileNotFoundError):
            os.utime(self.lifeline)

    def let_go(self) -> None:
        """End the lifeline: what this sweep started stops."""
        self._alive.release()

    def close(self) -> None:
        """Nothing is being trained, and nothing more will be started."""
        self.let_go()
        self.lifeline.unlink(missing_ok=True)


def code_changed(runs_dir: Path, sweep: str | None) -> str | None:
    """What to tell where today's code is not the one that `sweep` was submitted with; None where it is."""
    content = read_json(runs_dir / SWEEPS / sweep / "sweep.json") if sweep else None
    if not content or content["code"]["digest"] == code_digest():
        return None
    then = str(content["code"]["commit"] or "no commit")[:12]
    now = str(code_version()["commit"] or "no commit")[:12]
    return f"the code has changed since sweep {sweep} was submitted ({then}, now {now}); it trains with today's code"
