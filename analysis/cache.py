"""Rows of a runs_dir as they were last read, so that only what has changed is read again.

The folders have the last word: a row is taken from here only while each file that it was made from has the same
inode, size and times, and while the code that read it is the same. The file is JSON, which runs nothing when it is
read: run folders are shared. Values are kept by column, each different one once: ten thousand runs take a few
megabytes, and a fraction of a second to read.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import analysis.folders
import analysis.row
import spfde_exp.config
import spfde_exp.files
import spfde_exp.run_files
from analysis.folders import Stamp
from analysis.row import Row
from spfde_exp.files import read_json, write_atomic

NAME = ".analysis.json"
WORTH = 64  # rows read anew that are worth writing the file again
# A file changed twice within one tick of the file system's clock looks the same: what is younger is read again.
SETTLED_S = 2.0
_READERS = (analysis.folders, analysis.row, spfde_exp.config, spfde_exp.files, spfde_exp.run_files)


class Cache:
    """What is known of the runs in one folder.

    Use it as: `get` each run, `put` what had to be read, and `save`. A damaged or foreign file is none; one that
    cannot be written is not.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.path, self._now = runs_dir / NAME, time.time()
        self._kept: dict[str, tuple[Stamp, Row]] = {}
        self._fresh: dict[str, tuple[Stamp, Row]] = {}
        content = read_json(self.path) or {}
        if content.get("reader") == reader():
            with suppress(LookupError, TypeError, ValueError, AttributeError):
                self._kept = _decoded(content)

    def get(self, name: str, stamp: Stamp) -> Row | None:
        """The row of the run folder `name`, if its files still have this stamp."""
        before = self._kept.get(name)
        return before[1] if before and before[0] == stamp else None

    def put(self, name: str, stamp: Stamp, row: Row) -> None:
        """Remember a row; `stamp` was taken before its files were read."""
        if max(stamp) < (self._now - SETTLED_S) * 1e9 and _is_json(row):
            self._fresh[name] = stamp, row

    def save(self, names: Iterable[str]) -> None:
        """Keep the rows of `names`, the runs that there are, if enough of them are new."""
        if len(self._fresh) < WORTH:
            return
        known = self._kept | self._fresh
        content = _encoded({name: known[name] for name in names if name in known})
        with suppress(OSError):  # read-only, or full
            write_atomic(self.path, json.dumps({"reader": reader(), **content}, separators=(",", ":")))


def reader() -> str:
    """Hash of the code that makes rows, and of what decides which values belong to a run's identity."""
    digest = hashlib.sha256()
    for module in _READERS:
        digest.update(Path(str(module.__file__)).read_bytes())
    config = spfde_exp.config
    digest.update(repr((config.SCHEMA_VERSION, config.NOT_IDENTITY, config.NEUTRAL)).encode())
    return digest.hexdigest()


def _is_json(row: Row) -> bool:
    try:
        json.dumps(row.values)
    except (TypeError, ValueError):  # YAML also has dates
        return False
    return True


def _encoded(rows: dict[str, tuple[Stamp, Row]]) -> dict[str, Any]:
    columns: dict[str, tuple[list[Any], list[int]]] = {}  # different values, and the number of each row's, or -1
    places: dict[str, dict[Any, int]] = {}
    for number, (_, row) in enumerate(rows.values()):
        for key, value in _plain(row).items():
            values, codes = columns.setdefault(key, ([], []))
            known = places.setdefault(key, {})
            place = known.setdefault((type(value), repr(value)), len(values))
            if place == len(values):
                values.append(value)
            codes += [-1] * (number - len(codes))
            codes.append(place)
    return {
        "stamps": {name: stamp for name, (stamp, _) in rows.items()},
        "left_out": [name for name, (_, row) in rows.items() if row.values is None],
        "told": {name: row.told for name, (_, row) in rows.items() if row.told},
        "columns": columns,
    }


def _decoded(content: dict[str, Any]) -> dict[str, tuple[Stamp, Row]]:
    stamps: dict[str, Stamp] = content["stamps"]
    plain: list[dict[str, Any]] = [{} for _ in stamps]
    rows = {name: (stamp, Row(values)) for (name, stamp), values in zip(stamps.items(), plain, strict=True)}
    for key, (values, codes) in content["columns"].items():
        for row, code in zip(plain, codes, strict=False):  # fewer codes than rows: the others have no such key
            if code >= 0:
                row[key] = values[code]
    identities: dict[str, dict[str, Any]] = {}
    for values in filter(None, plain):
        if (who := identities.get(values["cell"])) is None:
            who = identities[values["cell"]] = {key: values[key] for key in values["identity"]}
        values["identity"] = who
    for name in content["left_out"]:
        rows[name][1].values = None
    for name, told in content["told"].items():
        rows[name][1].told = [(reason, detail) for reason, detail in told]
    return rows


def _plain(row: Row) -> dict[str, Any]:
    """The columns of a row; of its identity, which consists of them, only the keys."""
    return {**row.values, "identity": list(row.values["identity"])} if row.values else {}
