"""The cells of a table under one protocol, as resolved configurations."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from analysis.composing import composed
from spfde_exp.config import NEUTRAL, flatten, identity, signature
from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import SweepFile, load_sweep
from spfde_exp.options import accept_numbers

# What the cells of most tables are about. Everything else is the protocol: how it was trained.
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
        tree: its resolved configuration, nested.
    """

    overrides: dict[str, str]
    values: dict[str, Any]
    identity: dict[str, Any]
    key: str
    tree: dict[str, Any]

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

    @cached_property
    def setting(self) -> tuple[str, ...]:
        """The configuration keys that its cells are about."""
        return setting_of(self.sweep)

    def __str__(self) -> str:
        """``cifar100, resnet32 x2, 160 epochs``; several networks or lengths of training are all named."""
        return "; ".join(dict.fromkeys(map(_trained, self.cells)))


def _trained(cell: Spec) -> str:
    values = cell.values
    subset = f" ({values['dataset.subset']} examples)" if values["dataset.subset"] else ""
    return (
        f"{values['dataset.name']}{subset}, {values['model.name']} x{values['model.width']:g}, "
        f"{values['epochs']} epochs"
    )


def setting_of(sweep: SweepFile) -> tuple[str, ...]:
    """`SETTING`, the configuration keys that the cells of a sweep file name, and the hooks that it needs."""
    hooks = (key for key in sweep.base if key.startswith("hooks."))
    return tuple(dict.fromkeys((*SETTING, *hooks, *(key for cell in sweep.cells for key in cell if "." in key))))


def place(identity_: Mapping[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    """What `keys` are in an identity; a key that is left out has its neutral value."""
    return tuple(text_of(identity_.get(key, NEUTRAL.get(key))) for key in keys)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Keys whose values differ; a key that is left out has its neutral value."""
    keys = sorted({*one, *other} - {"seed"})
    return [k for k in keys if text_of(one.get(k, NEUTRAL.get(k))) != text_of(other.get(k, NEUTRAL.get(k)))]


def text_of(value: Any) -> str:
    """A value as Hydra reads it."""
    if type(value) is float or type(value) is int:
        return repr(value)  # as below, in a tenth of the time
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def make_protocol(table: str, arguments: Sequence[str] = ()) -> Protocol:
    """The cells of ``python -m spfde_exp -m +sweep=<table> <arguments>``.

    Args:
        table: id of the table and its sweep file.
        arguments: overrides that replace the file's protocol; `seed` may name several. A recipe also replaces those
            that the file gives single cells; cells that become equal then share their runs.

    Raises:
        UserError: an override of what the table itself varies, or one with several values; bad input.
    """
    sweep = load_sweep(table)
    varied = varied_keys(sweep)
    rule = f"{table} varies {' and '.join(varied)} itself; overrides choose the rest, such as recipe=digits"
    accept_numbers()
    kept, seeds = {}, sweep.seeds
    for override in OverridesParser.create(config_loader=None).parse_overrides(list(arguments)):
        key = override.key_or_group
        if key == "sweep" or key in varied and key != "recipe":
            raise UserError(f"{override.input_line}: {rule}")
        if key == "seed":
            seeds = _seeds(override)
        elif override.is_sweep_override():
            raise UserError(f"{override.input_line} names several protocols; a table shows one, so give one")
        else:
            kept[key] = str(override.input_line)
    words = tuple(kept.values())
    cells = [_spec(cell, _words(sweep, cell, kept, words)) for cell in sweep.cells]
    merging = "recipe" in kept and "recipe" in varied
    if not merging and len({cell.key for cell in cells}) < len(cells):
        raise UserError(f"{' '.join(words)} makes cells of the table equal: {rule}")
    # lazily: the first cell tells other protocols apart, and composing takes time
    paper = not words or all(cell.key == _spec({}, _words(sweep, cell.overrides)).key for cell in cells)
    return Protocol(sweep, words, seeds, tuple(cells), paper)


def varied_keys(sweep: SweepFile) -> list[str]:
    """What the cells of a sweep file set each in their own way."""
    keys = dict.fromkeys(key for cell in sweep.cells for key in cell)
    return [key for key in keys if len({cell.get(key) for cell in sweep.cells}) > 1]


def _words(
    sweep: SweepFile, cell: Mapping[str, str], replaced: Mapping[str, str] | None = None, words: Sequence[str] = ()
) -> tuple[str, ...]:
    file = {**sweep.base, **cell}
    return (*(f"{key}={value}" for key, value in file.items() if key not in (replaced or {})), *words)


def _seeds(override: Override) -> tuple[int, ...]:
    texts = list(override.sweep_string_iterator()) if override.is_sweep_override() else [str(override.value())]
    for text in texts:
        if not text.isdigit():
            raise UserError(f"seed={text} is impossible; allowed: a whole number from 0")
    return tuple(dict.fromkeys(map(int, texts)))


def _spec(cell: dict[str, str], overrides: tuple[str, ...]) -> Spec:
    tree = composed(overrides)
    who = identity(tree)
    del who["seed"]
    return Spec(cell, flatten(tree), who, signature({**tree, "seed": 0}), tree)
