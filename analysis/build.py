"""A table of numbers: runs matched to cells by their resolved configuration, beside the printed values."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.command import command
from analysis.infer import infer_overrides
from analysis.layout import Definition
from analysis.load import load_runs
from analysis.papers import find_printed, footnotes
from analysis.protocol import Protocol, Spec, differing, make_protocol, place

KEYS_NAMED = 4  # a note names so many differing keys, and counts the rest


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        settings: the sweep file's overrides of this cell.
        mean: of the test accuracies in percent; None without a run.
        std: their sample standard deviation (n - 1); None below two runs.
        n: how many runs.
        printed: the paper's value, where the runs are trained by the paper's recipe; else None.
        printed_deviation: the paper's standard deviation, if it prints one.
        flops_reduction_freeze: share of the training FLOPs that freezing saved; None without a run.
        flops_reduction_sieve: the same for sieving.
        signatures: names of the run folders.
    """

    settings: dict[str, str]
    mean: float | None
    std: float | None
    n: int
    printed: float | None
    printed_deviation: float | None
    flops_reduction_freeze: float | None
    flops_reduction_sieve: float | None
    signatures: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """Mean less printed value, in points."""
        return None if self.mean is None or self.printed is None else self.mean - self.printed


@dataclass(frozen=True)
class Table:
    """A table, ready to be written in any format.

    Attributes:
        id: of the table.
        title: what it shows.
        source: where the paper has it.
        protocol: how its runs were trained, in words.
        overrides: the same as overrides of the table's sweep.
        paper: whether that is the paper's recipe; only then are there printed values.
        head: the corner, then a label per column.
        rows: label, then cells or texts.
        notes: what is missing or left out, and why.
        footnotes: what is known to be inconsistent in the paper.
        command: trains what is missing; None if nothing is.
    """

    id: str
    title: str
    source: str
    protocol: str
    overrides: tuple[str, ...]
    paper: bool
    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | str, ...]], ...]
    notes: tuple[str, ...]
    footnotes: tuple[str, ...]
    command: str | None


def build(definition: Definition, dirs: Sequence[Path | str], arguments: Sequence[str] = ()) -> Table:
    """Fill a table from the runs in `dirs`.

    Args:
        definition: the table.
        dirs: folders of run folders.
        arguments: overrides that choose protocol and seeds; without any of the protocol, it is the paper's
            where a run has it, else the only one that the runs have.

    Raises:
        UserError: no such folder, a bad override, or runs of several protocols to choose from.
    """
    frame = load_runs(dirs)
    if all(word.startswith("seed=") for word in arguments):
        arguments = [*infer_overrides(definition.id, frame), *arguments]
    protocol = make_protocol(definition.id, arguments)
    used = frame[frame["test_acc"].notna()]
    cells, notes, missing, more = [], [], set(), set()
    for index, spec in enumerate(protocol.cells):
        same = used[used["cell"] == spec.key].sort_values("seed")
        runs = same[same["seed"].isin(protocol.seeds)]
        cells.append(_cell(spec, runs, protocol))
        absent = [seed for seed in protocol.seeds if seed not in set(runs["seed"])]
        missing |= {(index, seed) for seed in absent}
        if absent and len(runs):
            notes.append(f"incomplete: {spec.name} has n = {len(runs)}; missing seed {_join(absent)}")
        more |= set(same["seed"]) - set(protocol.seeds)
    if more:
        every = _join(sorted({*more, *protocol.seeds}), ",")
        notes.append(f"not used: finished runs with seed {_join(sorted(more))}; add seed={every} to use all")
    total = len(protocol.cells) * len(protocol.seeds)
    if missing:
        notes.insert(0, f"{len(missing)} of {total} runs are missing")
    layout = definition.arrange([spec.values for spec in protocol.cells])
    rows = [(label, tuple(i if isinstance(i, str) else cells[i] for i in row)) for label, row in layout.rows]
    return Table(
        id=definition.id,
        title=protocol.sweep.title,
        source=definition.source,
        protocol=str(protocol),
        overrides=protocol.overrides,
        paper=protocol.paper,
        head=layout.head,
        rows=tuple(rows),
        notes=(*notes, *_elsewhere(used, protocol), *frame.attrs["notes"]),
        footnotes=tuple(footnotes(definition.id)) if protocol.paper else (),
        command=command(protocol, missing, str(dirs[0])) if missing else None,
    )


def _cell(spec: Spec, runs: pd.DataFrame, protocol: Protocol) -> Cell:
    accuracy, n = runs["test_acc"].astype(float), len(runs)
    printed: tuple[float | None, float | None] = (None, None)
    if protocol.paper:
        printed = find_printed(protocol.sweep.id, protocol.sweep.base["recipe"], spec.values)
    return Cell(
        settings=spec.overrides,
        mean=float(accuracy.mean()) if n else None,
        std=float(accuracy.std(ddof=1)) if n > 1 else None,
        n=n,
        printed=printed[0],
        printed_deviation=printed[1],
        flops_reduction_freeze=_mean(runs, "flops_reduction_freeze"),
        flops_reduction_sieve=_mean(runs, "flops_reduction_sieve"),
        signatures=tuple(runs["signature"]),
    )


def _mean(runs: pd.DataFrame, column: str) -> float | None:
    values = runs[column].dropna() if column in runs else runs.iloc[:0]["test_acc"]
    return float(values.astype(float).mean()) if len(values) else None


def _elsewhere(used: pd.DataFrame, protocol: Protocol) -> list[str]:
    """Finished runs with a cell's settings that are not shown, by what they differ in."""
    cells = {cell.place: cell for cell in protocol.cells}
    counts: Counter[tuple[str, ...]] = Counter()
    for who in used["identity"]:
        if cell := cells.get(place(who)):
            counts[tuple(differing(who, cell.identity))] += 1
    notes = []
    for keys, count in counts.items():
        if keys:
            more = f" and {len(keys) - KEYS_NAMED} more keys" if len(keys) > KEYS_NAMED else ""
            what = "run has" if count == 1 else "runs have"
            named = f"other {', '.join(keys[:KEYS_NAMED])}{more}"
            notes.append(f"not shown: {count} {what} a cell's settings under another protocol ({named})")
    return notes


def _join(values: Collection[int], by: str = ", ") -> str:
    return by.join(map(str, values))
