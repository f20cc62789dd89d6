"""Which runs of a folder a verb acts on: signatures by their beginning, states, sweeps, settings. Needs no torch."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spfde_exp.config import flatten, known_keys
from spfde_exp.errors import UserError
from spfde_exp.progress import Reader, RunProgress
from spfde_exp.store import RunFolder

STATES = ("new", "pending", "running", "stale", "failed", "done")


@dataclass(frozen=True)
class Filters:
    """What runs must have in common; an empty field asks for nothing.

    Attributes:
        signatures: beginnings of signatures, each of one run.
        states: any of these states.
        sweep: a sweep file's id such as A8, or the id of a sweep record.
        where: dotted configuration keys and their values.
    """

    signatures: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    sweep: str | None = None
    where: tuple[tuple[str, Any], ...] = ()

    def __bool__(self) -> bool:
        return self != Filters()


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add --runs."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the runs_dir to look at (default: runs)")


def add_filters(parser: argparse.ArgumentParser, positional: bool = True) -> None:
    """Add --runs, the filters' options and, where `positional`, a list of signatures."""
    if positional:
        parser.add_argument("signatures", nargs="*", metavar="SIG", help="runs, by the beginning of their signature")
    add_runs(parser)
    parser.add_argument("--state", metavar="STATE,...", help=f"runs in any of these states: {', '.join(STATES)}")
    parser.add_argument("--sweep", metavar="ID", help="runs of a sweep file (A8), or of a sweep record in .sweeps/")
    parser.add_argument(
        "--where", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="runs with these settings"
    )


def filters(arguments: argparse.Namespace, signatures: Sequence[str] | None = None) -> Filters:
    """The filters of a parsed command line.

    Args:
        signatures: instead of the command line's own, for a verb whose words are not all signatures.

    Raises:
        UserError: an unknown state or key, or a setting without a value.
    """
    states = tuple(state for state in (arguments.state or "").split(",") if state)
    for state in states:
        if state not in STATES:
            raise UserError(f"--state {state} is unknown; allowed: {', '.join(STATES)}")
    return Filters(
        tuple(arguments.signatures if signatures is None else signatures),
        states,
        arguments.sweep,
        tuple(_setting(word) for word in arguments.where),
    )


def _setting(word: str) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    if not equals:
        raise UserError(f"--where takes KEY=VALUE, not '{word}'; signatures come before it")
    if key.startswith(("hydra.", "hydra/")):
        raise UserError(f"--where {word}: the launcher's options come before --where, not after it")
    keys = known_keys()
    leaves = [name for name in keys if not any(other.startswith(f"{name}.") for other in keys)]
    if key not in leaves:
        near = [name for name in leaves if name.startswith(f"{key}.")] or difflib.get_close_matches(key, leaves, 3)
        hint = f"; did you mean {' or '.join(near[:3])}?" if near else ""
        raise UserError(f"--where {key}: no such configuration key{hint} (python -m spfde_exp --cfg job prints all)")
    try:
        return key, float(text)  # YAML takes 1e-4 for a word
    except ValueError:
        return key, parsed_value(word)


def parsed_value(word: str) -> Any:
    """The value of a word ``KEY=VALUE``.

    Raises:
        UserError: it is none.
    """
    text = word.partition("=")[2]
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{word}: '{text}' is no value; give a number, a word or a list such as [1,2]") from error


def none_pass(runs_dir: Path) -> str:
    """What to say where the filters leave nothing."""
    return f"no run in {runs_dir} passes these filters"


def find_runs(runs_dir: Path) -> list[RunFolder]:
    """The run folders of `runs_dir`, by signature.

    Raises:
        UserError: there is no such folder.
    """
    if not runs_dir.is_dir():
        raise UserError(f"--runs {runs_dir} is no folder; name the runs_dir of your runs")
    paths = {path.parent for name in ("config.yaml", "status.json") for path in runs_dir.glob(f"*/{name}")}
    return [RunFolder(path) for path in sorted(paths)]


def by_prefix(prefix: str, folders: Sequence[RunFolder], runs_dir: Path) -> RunFolder:
    """The one run whose signature begins with `prefix`.

    Raises:
        UserError: `prefix` is empty, or the beginning of no run, or of more than one.
    """
    if not prefix:
        raise UserError("an empty signature names no run; give the first digits of one")
    found = [folder for folder in folders if folder.signature.startswith(prefix)]
    exact = [folder for folder in found if folder.signature == prefix]
    if len(exact) == 1 or len(found) == 1:
        return (exact or found)[0]
    names = [folder.signature for folder in found or folders]
    if found:
        raise UserError(f"'{prefix}' is the beginning of {counted(len(found))}: {_some(names)}; give more digits")
    near = difflib.get_close_matches(prefix, names, 3, 0.3) or names[:3]
    there = f"there are {', '.join(near)}" if near else "it holds no runs"
    raise UserError(f"no run in {runs_dir} begins with '{prefix}'; {there} (python -m spfde_exp.status lists all)")


def one_run(runs_dir: Path, prefix: str) -> RunFolder:
    """As `by_prefix`, among the runs of a folder."""
    return by_prefix(prefix, find_runs(runs_dir), runs_dir)


def select(runs_dir: Path, wanted: Filters, reader: Reader) -> list[tuple[RunFolder, RunProgress]]:
    """The runs that pass all filters, by signature, with how far they are.

    Raises:
        UserError: a signature names no run or several; no run is of the sweep.
    """
    folders = find_runs(runs_dir)
    if wanted.signatures:
        chosen = {by_prefix(prefix, folders, runs_dir).path for prefix in wanted.signatures}
        folders = [folder for folder in folders if folder.path in chosen]
    runs = [(folder, reader.read(folder)) for folder in folders]
    if wanted.sweep is not None:
        recorded = reader.record(runs_dir, wanted.sweep).get("runs", {})
        ids = sorted({name for _, run in runs for name in _sweeps(run)})
        runs = [(f, run) for f, run in runs if wanted.sweep in _sweeps(run) or f.signature in recorded]
        if not runs:
            raise UserError(f"--sweep {wanted.sweep}: no such run in {runs_dir}; there are {_some(ids) or 'no sweeps'}")
    if wanted.where:
        runs = [(folder, run) for folder, run in runs if _has(folder, wanted.where, reader)]
    return [(folder, run) for folder, run in runs if not wanted.states or run.state in wanted.states]


def counted(number: int) -> str:
    """Such as ``1 run`` or ``2 runs``."""
    return f"{number} run{'s' * (number != 1)}"


def _sweeps(run: RunProgress) -> tuple[str, ...]:
    return (*run.sweep_files, *([run.sweep] if run.sweep else []))


def _has(folder: RunFolder, where: Iterable[tuple[str, Any]], reader: Reader) -> bool:
    try:
        settings = flatten(reader.config(folder))
    except UserError:  # of a newer version: unknown settings
        return False
    return all(key in settings and settings[key] == value for key, value in where)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
