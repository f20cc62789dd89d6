"""One run as a row of `load_runs`, wherever its configuration and its result come from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spfde_exp.config import flatten, identity, signature

# Columns that are there even without any run; the keys of configuration and summary come on top.
COLUMNS = (
    "signature", "path", "state", "error", "commit", "dirty", "device", "device_name", "host", "threads",
    "engine", "runs_per_device", "started", "finished", "data_checksum", "cell", "identity", "seed", "test_acc",
)  # fmt: skip


@dataclass
class Row:
    """What the files of a run say.

    Attributes:
        values: columns of `load_runs`, but those that depend on where and when it is read; `None` for what is left
            out, empty for a run whose configuration is not there yet.
        told: keys of `analysis.notes.REASONS`, each with a detail.
    """

    values: dict[str, Any] | None
    told: list[tuple[str, str]] = field(default_factory=list)


def left_out(reason: str, detail: object = "") -> Row:
    """What is no run, or no readable one."""
    return Row(None, [(reason, str(detail))])


def make_row(
    config: Mapping[str, Any], summary: Mapping[str, Any] | None, meta: Mapping[str, Any], state: str | None, name: str
) -> Row:
    """A run.

    Args:
        config: as in config.yaml, without its schema version.
        summary: as summary.json; None unless the run is done.
        meta: as meta.json.
        state: ``done``, ``torn`` and so on; None where it has to be asked for at each reading.
        name: the signature that the run claims to have.

    Raises:
        TypeError, ValueError: its configuration is none.
    """
    if type(config.get("seed")) is not int:
        return left_out("unresolved")
    row = Row({})
    who = identity(config)
    del who["seed"]
    if (real := signature(config)) != name:
        row.told.append(("renamed", real))
    accuracy: Any = (summary or {}).get("test_acc", math.nan)
    if state == "done" and not _finite(accuracy):
        row.told.append(("accuracy", str(accuracy)))
        accuracy = math.nan
    git = meta.get("git") or {}
    row.values = {**(summary or {}), **flatten(config)} | {
        "signature": name,
        "state": state,
        "error": None,
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
        "runs_per_device": meta.get("runs_per_device", 1),
        "engine": meta.get("engine") or config.get("engine") or "dense",  # there was no other at first
        **{key: meta.get(key) for key in ("device", "device_name", "host", "threads", "data_checksum")},
        **{key: meta[key] if _finite(meta.get(key)) else math.nan for key in ("started", "finished")},
        "cell": signature({**config, "seed": 0}),
        "identity": who,
        "test_acc": accuracy,
    }
    return row


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
