"""Runs that Weights & Biases has, as rows: of a project on a server, or of directories that never reached one.

Both hold what `spfde_exp.track.wandb_mirror` puts there: config.yaml, with meta.json under the key ``meta``, as
configuration; metrics.jsonl as history; and the last row of that, under summary.json, as summary.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from analysis.row import Row, left_out, make_row
from spfde_exp.config import signature
from spfde_exp.errors import UserError
from spfde_exp.run_files import check_version
from spfde_exp.schema import Config
from spfde_exp.track.wandb_offline import NOT_FINITE, read_offline

PAGE = 200  # runs that one answer of the server holds: a few kilobytes each
STATES = {"finished": "done", "preempting": "pending", "preempted": "pending", "crashed": "failed", "killed": "failed"}
# Keys of summary.json that no history has: while they are absent, the summary is that of some epoch.
AT_THE_END = ("signature", "epochs", "train_flops")
# Keys of metrics.jsonl that summary.json has not.
OF_AN_EPOCH = (
    "epoch", "lr", "train_loss", "train_acc", "test_loss", "val_loss", "density_trained", "frozen_blocks",
    "train_examples", "epoch_time_s", "eval_time_s", "epoch_flops", "memory_bytes", "memory_peak_bytes",
)  # fmt: skip
WHOLE_OR_NOT = ("freeze.fraction", "sparsity.explicit")  # resolved to numbers with a fraction, though typed as anything


def read_project(name: str) -> Iterator[tuple[str, Row]]:
    """The runs of a project, each with its address.

    Args:
        name: ``entity/project``.

    Raises:
        UserError: no such project, no login, no network.
    """
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", name):
        raise UserError(f"--wandb {name} is no project of W&B; give entity/project")
    try:
        api = _wandb().Api()
        # As from 0.22 on, configurations would else be fetched one by one.
        eager = {"lazy": False} if "lazy" in inspect.signature(api.runs).parameters else {}
        for run in api.runs(name, per_page=PAGE, **eager):
            yield run.url, _row(run.config, dict(run.summary.items()), run.state, run.id)
    except UserError:
        raise
    except Exception as error:  # W&B raises its own, requests' and built-in ones
        raise _unreachable(f"--wandb {name}", error) from error


def read_history(url: str) -> list[dict[str, Any]]:
    """The epochs of a run, as in metrics.jsonl.

    Raises:
        UserError: no such run, no login, no network.
    """
    entity, project, _, run = url.split("/")[-4:]
    try:
        rows = list(_wandb().Api().run(f"{entity}/{project}/{run}").scan_history())
    except UserError:
        raise
    except Exception as error:
        raise _unreachable(f"W&B run {url}", error) from error
    return [{key: _number(value) for key, value in row.items() if not key.startswith("_")} for row in rows]


def read_wandb_dir(place: Path) -> Iterator[tuple[str, Row]]:
    """The runs of all .wandb files below a folder, each with the path of its file.

    Raises:
        UserError: no such folder, none in it, or wandb is not installed.
    """
    _wandb()
    files = sorted(place.rglob("run-*.wandb"))
    if not files:
        raise UserError(f"--wandb-dir {place} holds no run-*.wandb; name a folder with W&B's offline-run-... in it")
    for file in files:
        try:
            run = read_offline(file)
        except Exception as error:  # the bytes may be anything
            yield str(file), left_out("unreadable", f"{type(error).__name__}: {error}")
        else:
            ended = all(key in run.summary for key in AT_THE_END)
            state = "finished" if run.complete and ended else "crashed" if run.complete else "cut off"
            yield str(file), _row(run.config, run.summary, state, run.run_id)


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UserError("reading what W&B has needs the package wandb: pip install wandb") from error
    return wandb


def _unreachable(what: str, error: Exception) -> UserError:
    told = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{what} cannot be read: {told.rstrip('.')}; check its name, the network and `wandb login`")


def _row(given: Mapping[str, Any], summary: Mapping[str, Any], state: str, name: str) -> Row:
    """A run as W&B has it. Its signature is made from its configuration, whatever its name."""
    if not isinstance(given.get("method"), Mapping) or "seed" not in given:
        return left_out("foreign_run")
    config = dict(given)
    meta = config.pop("meta", None)
    meta = meta if isinstance(meta, Mapping) else {}
    ours = STATES.get(state, state)
    if ours == "done" and not all(key in summary for key in AT_THE_END):
        ours = "torn"
    result = {key: _number(value) for key, value in summary.items() if key not in OF_AN_EPOCH and key[:1] != "_"}
    try:
        check_version(config.pop("schema_version", None), "its configuration")
        config = {key: _retyped(value, key) for key, value in config.items()}
        row = make_row(config, result if ours == "done" else None, meta, ours, meta.get("signature", name))
        if row.values:
            row.values["signature"] = signature(config)
        return row
    except UserError as error:
        return left_out("version", error)
    except (TypeError, ValueError, AttributeError) as error:
        return left_out("unreadable", f"{type(error).__name__}: {error}")


def _number(value: Any) -> Any:
    """A number that JSON has not comes as text."""
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _retyped(value: Any, key: str) -> Any:
    """`value` with whole numbers as the schema has them: on its way through W&B, 1.0 may have become 1."""
    if isinstance(value, Mapping):
        return {part: _retyped(inner, f"{key}.{part}") for part, inner in value.items()}
    if not (key in _fractions() or key.startswith(tuple(f"{name}." for name in WHOLE_OR_NOT))):
        return value
    if isinstance(value, list):
        return [_retyped(item, key) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@cache
def _fractions() -> frozenset[str]:
    """Dotted keys of the configuration whose numbers have a fraction."""
    keys = set(WHOLE_OR_NOT)
    for group in fields(Config):
        parts = {group.name: group.type}
        if is_dataclass(group.type):
            parts = {f"{group.name}.{key.name}": key.type for key in fields(group.type)}
        keys |= {name for name, kind in parts.items() if float in (kind, *get_args(kind))}
    return frozenset(keys)
