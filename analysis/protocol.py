"""The cells of a table under one protocol, as resolved configurations."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from spfde_exp.config import NEUTRAL, compose, flatten, identity, signature
from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import SweepFile, expand, load_sweep
from spfde_exp.options import accept_numbers

# What the cells of a table are about. Everything else is the protocol: how it was trained.
SETTING = (
    "method.name", "sparsity.scheme", "sparsity.target",
    "freeze.scheme", "freeze.target", "sieve.mode", "sieve.ratio",
)  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """One cell of a table: what its runs have in common.

    Attributes:
        overrides: what the sweep file says of it, besides base and seed.
        values: its resolved configuration, flat.
        identity: what decides the result besides the seed.
        key: hash of `identity`, as the column ``cell`` of `load_runs`.
    """

    overrides: dict[str, str]
    values: dict[str, Any]
    identity: dict[str, Any]
    key: str

    @property
    def place(self) -> tuple[Any, ...]:
        """Values of `SETTING`."""
        return place(self.identity)

    @property
    def name(self) -> str:
        """``sparsity=0.9 freeze=0.2``."""
        return " ".join(f"{key}={value}" for key, value in self.overrides.items())


@dataclass(frozen=True)
class Protocol:
    """A table's cells under one protocol.

    Attributes:
        sweep: the sweep file.
        overrides: what replaces the file's protocol, without the seeds.
        seeds: the seeds expected in every cell.
        cells: in the file's order.
        paper: whether every cell is the one that the paper's recipe gives.
    """

    sweep: SweepFile
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: tuple[Spec, ...]
    paper: bool

    def __str__(self) -> str:
        values = self.cells[0].values
        subset = f" ({values['dataset.subset']} examples)" if values["dataset.subset"] else ""
        return (
            f"{values['dataset.name']}{subset}, {values['model.name']} x{values['model.width']:g}, "
            f"{values['epochs']} epochs"
        )


def place(identity_: dict[str, Any]) -> tuple[Any, ...]:
    """Values of `SETTING` in an identity."""
    return tuple(identity_.get(key) for key in SETTING)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Keys whose values differ; a key that is left out has its neutral value."""
    keys = sorted({*one, *other} - {"seed"})
    return [k for k in keys if text_of(one.get(k, NEUTRAL.get(k))) != text_of(other.get(k, NEUTRAL.get(k)))]


def text_of(value: Any) -> str:
    """A value as Hydra reads it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def make_protocol(table: str, arguments: Sequence[str] = ()) -> Protocol:
    """The cells of ``python -m spfde_exp -m +sweep=<table> <arguments>``.

    Args:
        table: id of the table and its sweep file.
        arguments: overrides that replace the file's protocol; `seed` may name several.

    Raises:
        UserError: an override of what the table itself varies, or one with several values; bad input.
    """
    sweep = load_sweep(table)
    varied = list(sweep.cells[0])
    rule = f"{table} varies {' and '.join(varied)} itself; overrides choose the rest, such as recipe=digits"
    accept_numbers()
    kept = []
    for override in OverridesParser.create(config_loader=None).parse_overrides(list(arguments)):
        key = override.key_or_group
        if key in (*varied, "sweep"):
            raise UserError(f"{override.input_line}: {rule}")
        if override.is_sweep_override() and key != "seed":
            raise UserError(f"{override.input_line} names several protocols; a table shows one, so give one")
        if key != "seed":
            kept.append(str(override.input_line))
    jobs = expand([f"+sweep={table}", *arguments], None)
    seeds = dict.fromkeys(_seed(job) for job in jobs)
    cells = [_spec(cell, job) for cell, job in zip(sweep.cells, _without_seed(jobs), strict=True)]
    if len({cell.key for cell in cells}) < len(cells):
        raise UserError(f"{' '.join(kept)} makes cells of the table equal: {rule}")
    # lazily: the first cell tells other protocols apart, and composing takes time
    paper = all(
        cell.key == _spec(cell.overrides, job).key
        for cell, job in zip(cells, _without_seed(expand([f"+sweep={table}"], None)), strict=True)
    )
    return Protocol(sweep, tuple(kept), tuple(seeds), tuple(cells), paper)


def _seed(job: Sequence[str]) -> int:
    (text,) = (item.partition("=")[2] for item in job if item.startswith("seed="))
    if not text.isdigit():
        raise UserError(f"seed={text} is impossible; allowed: a whole number from 0")
    return int(text)


def _without_seed(jobs: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    aside = ("seed=", "+sweep=")
    return list(dict.fromkeys(tuple(word for word in job if not word.startswith(aside)) for job in jobs))


def _spec(cell: dict[str, str], overrides: tuple[str, ...]) -> Spec:
    tree = composed(overrides)
    who = identity(tree)
    del who["seed"]
    return Spec(cell, flatten(tree), who, signature({**tree, "seed": 0}))


@cache
def composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The resolved configuration of `overrides`, composed once."""
    return asdict(compose(overrides))
