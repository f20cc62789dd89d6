"""Read what W&B's offline mode wrote, without a network: config, summary and history of a `.wandb` file.

The file is a LevelDB log (github.com/google/leveldb, doc/log_format.md) behind 7 bytes of W&B's own: `:W&B`,
0xBEE1 little-endian and the version 0. The checksum is a plain CRC-32 over type and data. Each log record is
one protobuf `wandb_internal.Record`. W&B offers no reader of its own that works offline.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spfde_exp.errors import UserError

_FILE_HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
_BLOCK = 32 * 1024
_CHUNK = struct.Struct("<IHB")  # CRC-32, length of the data, type
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass
class OfflineRun:
    """One W&B run as stored. Keys of W&B's own (a leading underscore, as `_step`) are left out everywhere."""

    run_id: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    """The run's summary over the last value of every history key, as W&B shows it."""
    history: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = False
    """False when the file ends before the run's end: its tail is lost or it was killed."""


def read_offline(path: Path) -> OfflineRun:
    """Read a `.wandb` file, or the only offline run of a run folder; what follows a damaged record is lost.

    Raises:
        UserError: no such file, several offline runs in the folder, not a `.wandb` file, or wandb not installed.
    """
    try:
        from wandb.proto import wandb_internal_pb2
    except ImportError as error:
        raise UserError("reading .wandb files needs the package wandb: pip install wandb") from error
    messages: Any = wandb_internal_pb2  # generated at import time: a type checker sees nothing in it
    run = OfflineRun()
    for data in _log_records(_find(path).read_bytes(), path):
        record = messages.Record()
        record.ParseFromString(data)
        _apply(run, record)
    return run


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("wandb/offline-run-*/run-*.wandb"))
    if len(found) != 1:
        raise UserError(f"{path} holds {len(found)} offline W&B runs, not one: give the .wandb file itself")
    return found[0]


def _log_records(blob: bytes, path: Path) -> Iterator[bytes]:
    if blob[: len(_FILE_HEADER)] != _FILE_HEADER:
        raise UserError(f"{path} is no W&B run file of version 0: it does not begin with {_FILE_HEADER!r}")
    at, record = len(_FILE_HEADER), b""
    while at + _CHUNK.size <= len(blob):
        room = _BLOCK - at % _BLOCK
        if room < _CHUNK.size:  # too little for a chunk: padding
            at += room
            continue
        crc, length, kind = _CHUNK.unpack_from(blob, at)
        data = blob[at + _CHUNK.size : at + _CHUNK.size + length]
        if len(data) < length or zlib.crc32(data, zlib.crc32(bytes([kind]))) != crc:
            return
        at += _CHUNK.size + length
        record = data if kind in (_FULL, _FIRST) else record + data
        if kind in (_FULL, _LAST):
            yield record


def _apply(run: OfflineRun, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run.run_id, run.group, run.tags = record.run.run_id, record.run.run_group, list(record.run.tags)
        _update(run.config, record.run.config.update)
    elif kind == "config":
        _update(run.config, record.config.update)
    elif kind == "summary":
        _update(run.summary, record.summary.update)
    elif kind == "history":
        row: dict[str, Any] = {}
        _update(row, record.history.item)
        run.history.append(row)
    elif kind == "exit":
        run.complete = True


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        *parents, key = list(item.nested_key) or [item.key]
        if (parents or [key])[0].startswith("_"):
            continue
        node = target
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key] = _value(item)


def _value(item: Any) -> Any:
    if item.value_json:
        value = json.loads(item.value_json)
        return NOT_FINITE.get(value, value) if isinstance(value, str) else value
    # A scalar of the history may come typed instead of as JSON (wandb 0.31).
    case = item.WhichOneof("value")
    if case == "json":
        return json.loads(item.json)
    return None if case == "none" else getattr(item, case)
