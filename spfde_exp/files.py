"""Files that are whole at any moment, whatever is killed when."""

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spfde_exp.errors import UserError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content`: readers see the old file or the new one, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
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


def whole_rows(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The objects in lines of JSON, up to the first that is torn."""
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def cache_folder() -> Path:
    """Where what takes long to find out is kept for this user; it may not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spfde_exp"


def probe_dir(path: Path) -> None:
    """Make `path` if need be, and write there; raises OSError where that cannot be done."""
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass


def writable_dir(path: Path) -> Path:
    """`path`, made if need be.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        probe_dir(path)
    except OSError as error:
        raise UserError(
            f"runs_dir={path} cannot be written ({error.strerror}); choose a folder that can, with runs_dir=..."
        ) from error
    return path
