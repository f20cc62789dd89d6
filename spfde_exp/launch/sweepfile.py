"""Sweep files: the runs that a table or figure needs, as lists of overrides. Needs no torch."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from spfde_exp.errors import UserError
from spfde_exp.options import folder

NEEDS = ("runs", "plans", "nothing")
PART_KEYS = ("base", "cells", "grid")
KEYS = ("id", "title", "needs", "seeds", "parts", *PART_KEYS)
RESERVED = ("seed", "sweep", "cell")  # what a file says in other ways


@dataclass(frozen=True)
class SweepFile:
    """One file of sweeps/.

    Attributes:
        id: the table or figure it fills.
        title: what it shows.
        base: overrides of every run, such as the recipe; a cell may replace them.
        seeds: the seeds of every cell.
        cells: overrides of each cell, in the file's order, besides `base` and seed.
        needs: "runs"; "plans", where a dry run is enough and nothing is trained; or "nothing", without cells.
    """

    id: str
    title: str
    base: dict[str, str]
    seeds: tuple[int, ...]
    cells: tuple[dict[str, str], ...]
    needs: str = "runs"

    def runs(self) -> list[dict[str, str]]:
        """Overrides of every run: base, cell and seed."""
        return [self.base | cell | {"seed": str(seed)} for cell in self.cells for seed in self.seeds]


def sweep_names() -> list[str]:
    """Ids of all sweep files, A2 before A10."""
    names = (file.stem for file in folder("sweeps").glob("*.yaml"))
    return sorted(names, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)])


def load_sweep(name: str) -> SweepFile:
    """Read `sweeps/<name>.yaml`; docs/sweeps.md describes the format.

    Raises:
        UserError: there is no such file, or it is malformed.
    """
    path = folder("sweeps") / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"sweep '{name}' is unknown; allowed: {', '.join(sweep_names())}")
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@cache
def _read(path: Path, changed: int, size: int) -> SweepFile:
    """The content of a file, which is looked at again after a change: some commands ask for it a hundred times."""
    try:
        return _sweep(path.stem, OmegaConf.to_container(OmegaConf.load(path)))
    except (YAMLError, OmegaConfBaseException, OSError, _Malformed) as error:
        raise UserError(f"sweep file {path.name} is malformed: {' '.join(str(error).split())}") from error


def expand(arguments: list[str], config_loader: Any) -> list[list[str]]:
    """The overrides of every job that a command line asks for, each once, in order.

    Sweep files named by ``+sweep=A8,A9`` are united; what the command line sets replaces what a file sets (so
    ``recipe=digits seed=0`` runs a table on digits with one seed), and its own sweeps multiply the cells.
    ``+cell=3`` picks the third cell of the one sweep file, ``+cell=1,4`` two.

    Raises:
        UserError: an unknown or malformed sweep file, a cell that it does not have, or one that nothing is trained for.
    """
    overrides = OverridesParser.create(config_loader=config_loader).parse_overrides(arguments)
    names = dict.fromkeys(name for o in overrides if o.key_or_group == "sweep" for name in _values(o))
    picks = [override for override in overrides if override.key_or_group == "cell"]
    rest = [override for override in overrides if override.key_or_group not in ("sweep", "cell")]
    user = BasicSweeper.split_arguments(rest, None)[0]
    if picks and len(names) != 1:
        found = f"+sweep={','.join(names)} names {len(names)}" if names else "there is no +sweep="
        raise UserError(f"{picks[0].input_line} picks from one sweep file; {found}")
    if not names:
        return user
    fixed = {override.get_key_element() for override in rest}
    jobs: dict[frozenset[str], list[str]] = {}  # in whatever order a file spells them
    files: dict[frozenset[str], set[str]] = {}
    for name in names:
        sweep = load_sweep(name)
        _check_wanted(sweep, rest)
        for run in _picked(sweep, picks).runs():
            settings = [f"{key}={value}" for key, value in run.items() if key not in fixed]
            for extra in user:
                job = [*settings, *extra]
                jobs.setdefault(frozenset(job), job)
                files.setdefault(frozenset(job), set()).add(name)
    return [[*job, f"+sweep=[{','.join(sorted(files[key]))}]"] for key, job in jobs.items()]


def cell_number(sweep: SweepFile, settings: Iterable[str]) -> int | None:
    """The cell, as ``+cell=`` takes it, that a job of `expand` is made of; the first of several that it may be.

    Args:
        settings: overrides of the job; what the command line sets has replaced the cell's.
    """
    said = dict(word.partition("=")[::2] for word in settings)
    best, most = None, -1
    for number, cell in enumerate(sweep.cells, 1):
        whole = sweep.base | cell
        alike = sum(said.get(key) == value for key, value in whole.items())
        if whole.keys() <= said.keys() and alike > most:
            best, most = number, alike
    return best


def _check_wanted(sweep: SweepFile, rest: Sequence[Override]) -> None:
    if sweep.needs == "nothing":
        raise UserError(f"+sweep={sweep.id}: {sweep.id} ({sweep.title}) needs no runs; leave it out")
    dry = [o for o in rest if o.key_or_group == "dry_run" and not o.is_sweep_override() and o.value()]
    if sweep.needs == "plans" and not dry:
        raise UserError(
            f"+sweep={sweep.id}: {sweep.id} ({sweep.title}) needs plans only, and nothing is trained for it; "
            "add dry_run=true, or leave it out"
        )


def _picked(sweep: SweepFile, picks: Sequence[Override]) -> SweepFile:
    if not picks:
        return sweep
    numbers = {str(number): cell for number, cell in enumerate(sweep.cells, 1)}
    wanted = dict.fromkeys(text for override in picks for text in _values(override))
    if not wanted or not wanted.keys() <= numbers.keys():
        raise UserError(f"{picks[-1].input_line} is impossible; cells of {sweep.id}: 1 to {len(numbers)}")
    return replace(sweep, cells=tuple(numbers[text] for text in wanted))


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_string_iterator()]
    value = override.value()
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


class _Malformed(Exception):
    """What is wrong in a sweep file."""


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _Malformed(otherwise)


def _sweep(name: str, raw: Any) -> SweepFile:
    _require(isinstance(raw, Mapping), f"it has to hold {', '.join(KEYS)}")
    _known(raw, KEYS, "the file")
    _require(raw.get("id") == name, f"id is {raw.get('id')}; it has to be the file's name, {name}")
    title, needs, seeds = raw.get("title"), raw.get("needs", "runs"), raw.get("seeds")
    _require(isinstance(title, str) and bool(title), "title has to be a text")
    _require(needs in NEEDS, f"needs is {needs}; allowed: {', '.join(NEEDS)}")
    if needs == "nothing":
        _require(not raw.keys() - {"id", "title", "needs"}, "what needs nothing has id, title and needs only")
        return SweepFile(name, title, {}, (), (), needs)
    _require(
        isinstance(seeds, list) and len(seeds) > 0 and all(type(seed) is int and seed >= 0 for seed in seeds),
        f"seeds is {seeds}; it takes a list of whole numbers from 0, such as [0, 1, 2]",
    )
    _require(len(set(seeds)) == len(seeds), f"seeds is {seeds}; each may come once")
    _require(sum(key in raw for key in ("cells", "grid", "parts")) == 1, "it takes one of cells, grid and parts")
    parts = raw.get("parts", [{key: raw[key] for key in ("cells", "grid") if key in raw}])
    _require(isinstance(parts, list) and len(parts) > 0, "parts takes a list of mappings with base, cells and grid")
    base, cells = _settings(raw.get("base", {}), "base"), [cell for part in parts for cell in _cells(part)]
    seen: dict[frozenset[tuple[str, str]], int] = {}
    for number, cell in enumerate(cells, 1):
        before = seen.setdefault(frozenset((base | cell).items()), number)
        _require(before == number, f"cell {number} repeats cell {before}")
    return SweepFile(name, title, base, tuple(seeds), tuple(cells), needs)


def _cells(part: Any) -> list[dict[str, str]]:
    """The cells of a file, or of one of its parts."""
    _require(isinstance(part, Mapping), f"a part takes a mapping with {', '.join(PART_KEYS)}, not {part}")
    _known(part, PART_KEYS, "a part")
    _require(("cells" in part) != ("grid" in part), "a part takes one of cells and grid")
    base = _settings(part.get("base", {}), "base")
    if "cells" in part:
        listed = part["cells"]
        _require(isinstance(listed, list) and len(listed) > 0, "cells takes a list of settings")
        return [base | _settings(cell, "a cell") for cell in listed]
    grid = part["grid"]
    _require(isinstance(grid, Mapping) and len(grid) > 0, "grid takes a mapping, key -> list of values")
    axes = []
    for key, values in grid.items():
        _require(isinstance(values, list) and len(values) > 0, f"grid.{key} takes a list of values")
        axes.append([_settings(v if isinstance(v, Mapping) else {key: v}, f"grid.{key}") for v in values])
    return [base | {k: v for one in point for k, v in one.items()} for point in itertools.product(*axes)]


def _known(mapping: Mapping[Any, Any], allowed: Sequence[str], where: str) -> None:
    unknown = [str(key) for key in mapping if key not in allowed]
    _require(not unknown, f"{where} has the unknown key {', '.join(unknown)}; allowed: {', '.join(allowed)}")


def _settings(value: Any, where: str) -> dict[str, str]:
    _require(
        isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
        f"{where} takes settings, such as {{sparsity: 0.9, freeze: none}}, not {value}",
    )
    for key in RESERVED:
        _require(key not in value, f"{where} sets {key}, which no cell can")
    return {key: as_word(item) for key, item in value.items()}


def as_word(value: Any) -> str:
    """A value as Hydra's grammar spells it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{as_word(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_word, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
