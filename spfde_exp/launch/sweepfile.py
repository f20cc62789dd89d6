"""Sweep files: the runs that a table or figure needs, as lists of overrides. Needs no torch."""

import itertools
from dataclasses import dataclass
from typing import Any

import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from spfde_exp.errors import UserError
from spfde_exp.options import folder


@dataclass(frozen=True)
class SweepFile:
    """One file of sweeps/.

    Attributes:
        id: the table or figure it fills.
        title: what it shows.
        base: overrides of every run, such as the recipe.
        seeds: the seeds of every cell.
        cells: overrides of each cell, in the file's order, besides `base` and seed.
    """

    id: str
    title: str
    base: dict[str, str]
    seeds: tuple[int, ...]
    cells: tuple[dict[str, str], ...]

    def runs(self) -> list[dict[str, str]]:
        """Overrides of every run: base, cell and seed."""
        return [self.base | cell | {"seed": str(seed)} for cell in self.cells for seed in self.seeds]


def sweep_names() -> list[str]:
    """Ids of all sweep files."""
    return sorted(file.stem for file in folder("sweeps").glob("*.yaml"))


def load_sweep(name: str) -> SweepFile:
    """Read `sweeps/<name>.yaml`.

    A file has `id`, `title`, `base`, `seeds`, and either `grid` (key -> values, all combinations) or `cells`.

    Raises:
        UserError: there is no such file.
    """
    path = folder("sweeps") / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"sweep '{name}' is unknown; allowed: {', '.join(sweep_names())}")
    raw: dict[str, Any] = yaml.safe_load(path.read_text())
    grid = raw.get("grid", {})
    cells = raw.get("cells") or [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return SweepFile(
        id=raw["id"],
        title=raw["title"],
        base={key: str(value) for key, value in raw["base"].items()},
        seeds=tuple(raw["seeds"]),
        cells=tuple({key: str(value) for key, value in cell.items()} for cell in cells),
    )


def expand(arguments: list[str], config_loader: Any) -> list[list[str]]:
    """The overrides of every job that a command line asks for, each once, in order.

    Sweep files named by ``+sweep=A8,A9`` are united; what the command line sets replaces what a file sets (so
    ``recipe=digits seed=0`` runs a table on digits with one seed), and its own sweeps multiply the cells.

    Raises:
        UserError: an unknown sweep file.
    """
    overrides = OverridesParser.create(config_loader=config_loader).parse_overrides(arguments)
    names = [name for override in overrides if override.key_or_group == "sweep" for name in _names(override)]
    rest = [override for override in overrides if override.key_or_group != "sweep"]
    user = BasicSweeper.split_arguments(rest, None)[0]
    if not names:
        return user
    fixed = {override.get_key_element() for override in rest}
    jobs: dict[tuple[str, ...], set[str]] = {}
    for name in names:
        for run in load_sweep(name).runs():
            settings = [f"{key}={value}" for key, value in run.items() if key not in fixed]
            for extra in user:
                jobs.setdefault(tuple(settings + extra), set()).add(name)
    return [[*job, f"+sweep=[{','.join(sorted(which))}]"] for job, which in jobs.items()]


def _names(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(name) for name in override.sweep_string_iterator()]
    value = override.value()
    return [str(name) for name in value] if isinstance(value, list) else [str(value)]
