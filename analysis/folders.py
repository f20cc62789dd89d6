"""The files of a run folder as a row, and whether they are still those that a row was made from."""

import os

from analysis.row import Row, left_out, make_row
from spfde_exp.errors import UserError
from spfde_exp.files import whole_rows
from spfde_exp.store import RunFolder

FILES = ("config.yaml", "meta.json", "status.json", "summary.json", "metrics.jsonl")  # all that a row is made from

Stamp = list[int]  # of each of FILES: inode, size, time of the last change of its content, and of anything about it


def stamp_of(path: str) -> Stamp:
    """What changes whenever a file of the run folder `path` is replaced or written to; zeros for one that is absent."""
    stamp: Stamp = []
    for name in FILES:
        try:
            stat = os.stat(f"{path}/{name}")
        except OSError:
            stamp += (0, 0, 0, 0)
        else:
            stamp += (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return stamp


def read_folder(path: str) -> Row:
    """The run in the folder `path`; never an error."""
    folder = RunFolder(path)
    try:
        config = folder.config()
        if config is None:
            return left_out("foreign") if folder.file("config.yaml").exists() or not folder.status() else Row({})
        status, summary, meta = folder.status(), folder.summary(), folder.json("meta") or {}
        # copies of finished runs, as in results/, have no status
        over = meta.get("finished") if not status else status.get("state") == "done"
        ended = over or folder.file("summary.json").exists()
        state = "done" if summary is not None else "torn" if ended else None
        row = make_row(config, summary, meta, state, folder.signature)
        if row.values:
            row.values["error"] = status.get("error")
        if state == "done" and folder.file("metrics.jsonl").exists():
            epochs, rows = (summary or {}).get("epochs"), _epochs(folder)
            if rows != epochs:
                row.told.append(("metrics", f"{rows} of {epochs} epochs"))
        return row
    except UserError as error:
        return left_out("version", error)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return left_out("unreadable", f"{type(error).__name__}: {error}")


def _epochs(folder: RunFolder) -> int:
    """Rows of metrics.jsonl; a torn last one is none. What is inside the others is not looked at, which takes time."""
    lines = folder.file("metrics.jsonl").read_bytes().splitlines()
    return len(lines) - (not whole_rows(lines[-1:])) if lines else 0
