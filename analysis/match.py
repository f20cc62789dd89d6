"""Which runs are those of a table or figure, which are missing, and which are nearly so."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.command import command
from analysis.infer import infer_overrides
from analysis.plans import planned
from analysis.protocol import Protocol, Spec, differing, make_protocol, place
from analysis.timing import comparable
from spfde_exp.launch.sweepfile import load_sweep

KEYS_NAMED = 4  # a note names so many differing keys, and counts the rest


@dataclass(frozen=True)
class Match:
    """The runs of every cell of a sweep file.

    Attributes:
        protocol: the cells.
        runs: number of a cell -> its finished runs, by seed, with the columns of `load_runs`; what its plan tells in
            one row, where the file needs plans only.
        planned: whether that is so.
        counts: how many runs are there, and how many there are to be; cells of equal configuration share theirs.
        notes: what is missing or left out, and why.
        command: trains what is missing; None if nothing is.
    """

    protocol: Protocol
    runs: dict[int, pd.DataFrame]
    planned: bool
    counts: tuple[int, int]
    notes: tuple[str, ...]
    command: str | None


def match(
    name: str,
    frame: pd.DataFrame,
    arguments: Sequence[str] = (),
    runs_dir: str = "runs",
    baseline: Callable[[Spec], bool] | None = None,
) -> Match:
    """Find the runs of the sweep file `name`.

    Args:
        name: id of the sweep file.
        frame: what `load_runs` gave.
        arguments: overrides that choose protocol and seeds; without any of the protocol, it is the paper's
            where a run has it, else the only one that the runs have.
        runs_dir: where the command for missing runs puts them.
        baseline: where times are compared, which cell they are relative to; only runs that had that one's device to
            themselves count then.

    Raises:
        UserError: a bad override, or runs of several protocols to choose from.
    """
    needs_runs = load_sweep(name).needs == "runs"
    if needs_runs and all(word.startswith("seed=") for word in arguments):
        arguments = [*infer_overrides(name, frame), *arguments]
    protocol = make_protocol(name, arguments)
    if not needs_runs:
        return Match(protocol, {i: planned(cell) for i, cell in enumerate(protocol.cells)}, True, (0, 0), (), None)
    done = frame[frame["test_acc"].notna()]
    used, told = comparable(done, protocol.cells, baseline, protocol.seeds) if baseline else (done, [])
    wanted = used[used["cell"].isin({cell.key for cell in protocol.cells})].sort_values("seed")
    groups = dict(list(wanted.groupby("cell")))
    found: dict[int, pd.DataFrame] = {}
    notes: list[str] = []
    missing: dict[tuple[str, int], int] = {}  # configuration and seed -> a cell
    more: set[int] = set()
    for index, spec in enumerate(protocol.cells):
        same = groups.get(spec.key, wanted.iloc[:0])
        found[index] = same[same["seed"].isin(protocol.seeds)]
        there = set(same["seed"])
        absent = [seed for seed in protocol.seeds if seed not in there]
        missing |= {(spec.key, seed): index for seed in absent}
        if absent and len(found[index]):
            notes.append(f"incomplete: {spec.name} has n = {len(found[index])}; missing seed {_join(absent)}")
        more |= there - set(protocol.seeds)
    if more:
        every = _join(sorted({*more, *protocol.seeds}), ",")
        notes.append(f"not used: finished runs with seed {_join(sorted(more))}; add seed={every} to use all")
    total = len({spec.key for spec in protocol.cells}) * len(protocol.seeds)
    if missing:
        notes.insert(0, f"{len(missing)} of {total} runs are missing")
    cells = {(index, seed) for (_, seed), index in missing.items()}
    return Match(
        protocol=protocol,
        runs=found,
        planned=False,
        counts=(total - len(missing), total),
        notes=(*notes, *told, *_elsewhere(done, protocol), *frame.attrs["notes"]),
        command=command(protocol, cells, runs_dir) if cells else None,
    )


def _elsewhere(used: pd.DataFrame, protocol: Protocol) -> list[str]:
    """Finished runs with a cell's settings that are not shown, by what they differ in."""
    cells = {place(cell.identity, protocol.setting): cell for cell in protocol.cells}
    shown = {cell.key for cell in protocol.cells}
    counts: Counter[tuple[str, ...]] = Counter()
    others = used[~used["cell"].isin(shown)]
    runs = others.groupby("cell")["identity"].agg(["first", "size"])
    for who, size in zip(runs["first"], runs["size"], strict=True):
        if cell := cells.get(place(who, protocol.setting)):
            counts[tuple(differing(who, cell.identity))] += int(size)
    notes = []
    for keys, count in counts.items():
        more = f" and {len(keys) - KEYS_NAMED} more keys" if len(keys) > KEYS_NAMED else ""
        what = "run has" if count == 1 else "runs have"
        named = f"other {', '.join(keys[:KEYS_NAMED])}{more}"
        notes.append(f"not shown: {count} {what} a cell's settings under another protocol ({named})")
    return notes


def _join(values: Collection[int], by: str = ", ") -> str:
    return by.join(map(str, values))
