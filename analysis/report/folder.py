"""The folder that a report is written into: replaced as a whole, and only if it is a report."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spfde_exp import __version__
from spfde_exp.errors import UserError
from spfde_exp.files import read_json

MARKER = ".spfde_exp_report.json"  # lies in every report, and lists its files


def check(out: Path) -> None:
    """Refuse what cannot be replaced by a report.

    Raises:
        UserError: `out` is there and is no report, other files have been put into it, or its own folder is not there.
    """
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: its folder is not there; make it, or choose another one")
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder for the report")
    there = [name for name in sorted(os.listdir(out)) if name != MARKER]
    known: Any = (read_json(out / MARKER) or {}).get("files")
    if there and not isinstance(known, list):
        raise UserError(f"--out {out} is there and is no report of this software; choose another name, or empty it")
    if foreign := [name for name in there if name not in known]:
        raise UserError(f"--out {out} has files that are not the report's: {', '.join(foreign[:3])}; move them away")


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `out` at the end; after an error, `out` is as it was.

    Raises:
        UserError: as `check`; or nothing can be written there.
    """
    out = out.resolve()
    check(out)
    try:
        new = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"--out {out}: nothing can be written beside it ({error.strerror})") from error
    try:
        yield new
        files = sorted(path.name for path in new.iterdir())
        (new / MARKER).write_text(json.dumps({"version": __version__, "files": files}, indent=1) + "\n")
        new.chmod(0o755)
        check(out)  # whatever came meanwhile
        _swap(new, out)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _swap(new: Path, out: Path) -> None:
    old = new.with_name(f"{new.name}.old")
    with suppress(FileNotFoundError):
        out.rename(old)
    try:
        new.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
