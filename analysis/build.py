"""A table of numbers: runs matched to cells by their resolved configuration, beside the printed values."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import pandas as pd
from scipy import stats

from analysis.layout import Definition, Entry, Fact, Item
from analysis.load import load_runs
from analysis.made import Made, common
from analysis.match import Match, match
from analysis.papers import find_printed
from analysis.quantities import Quantity

PRINTED_RUNS = 3  # behind a printed deviation: SpFDE Table 2 and MEST section 5 repeat each experiment 3 times
BEYOND_NOISE = 0.05


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        settings: the sweep file's overrides of this cell.
        quantity: what the number is.
        mean: over the runs, in the unit of summary.json; None without a run.
        std: sample standard deviation (n - 1); None below two runs.
        n: how many runs; None for what the plan tells without any.
        printed: the paper's value, where the runs are trained by the paper's recipe; else None.
        printed_deviation: the paper's standard deviation, if it prints one.
        signatures: names of the run folders.
    """

    settings: dict[str, str]
    quantity: Quantity
    mean: float | None
    std: float | None
    n: int | None
    printed: float | None
    printed_deviation: float | None
    signatures: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """Mean less printed value; None for what depends on the machine, such as seconds."""
        if self.mean is None or self.printed is None or self.quantity.of_machine:
            return None
        return self.mean - self.printed

    @property
    def p_value(self) -> float | None:
        """Of Welch's test that both have one mean; None without deviations on both sides, or if both are 0."""
        if self.difference is None or not self.n or self.std is None or self.printed_deviation is None:
            return None
        if self.std == self.printed_deviation == 0:
            return None
        ours, theirs = (self.mean, self.std, self.n), (self.printed, self.printed_deviation, PRINTED_RUNS)
        return float(stats.ttest_ind_from_stats(*ours, *theirs, equal_var=False).pvalue)

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the difference is larger than seeds explain, at the 5 % level; None where that cannot be told."""
        return None if self.p_value is None else self.p_value < BEYOND_NOISE


Shown = Cell | Fact | str


@dataclass(frozen=True)
class Table(Made):
    """A table, ready to be written in any format.

    Attributes:
        head: the corner, then a label per column.
        rows: label, then cells, facts or texts.
        groups: what neighbouring columns have in common, per column, with which their labels begin; empty for none.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Shown, ...]], ...]
    groups: tuple[str, ...]


def build(definition: Definition, dirs: Sequence[Path | str], arguments: Sequence[str] = ()) -> Table:
    """Fill a table from the runs in `dirs`; see `fill`."""
    return fill(definition, load_runs(dirs), arguments, *map(str, dirs[:1]))


def fill(definition: Definition, frame: pd.DataFrame, arguments: Sequence[str] = (), runs_dir: str = "runs") -> Table:
    """Fill a table from runs.

    Args:
        definition: the table.
        frame: what `load_runs` gave.
        arguments: overrides that choose protocol and seeds; without any of the protocol, it is the paper's
            where a run has it, else the only one that the runs have.
        runs_dir: where the command for missing runs puts them.

    Raises:
        UserError: a bad override, or runs of several protocols to choose from.
    """
    is_baseline = definition.baseline
    found = match(definition.id, frame, arguments, runs_dir, is_baseline)
    cells = found.protocol.cells
    layout = definition.arrange(cells)
    base = next((found.runs[index] for index, cell in enumerate(cells) if is_baseline and is_baseline(cell)), None)

    def shown(item: Item) -> Shown:
        if not isinstance(item, Entry):
            return item
        runs = found.runs[item.cell]
        return _cell(found, item, runs, runs.iloc[:0] if base is None else base)

    return Table(
        **common(definition.id, definition.source, found),
        head=layout.head,
        rows=tuple((label, tuple(map(shown, row))) for label, row in layout.rows),
        groups=layout.groups,
    )


def _cell(found: Match, item: Entry, runs: pd.DataFrame, baseline: pd.DataFrame) -> Cell:
    quantity, protocol, spec = item.quantity, found.protocol, found.protocol.cells[item.cell]
    values = quantity.of(runs, baseline)
    printed: tuple[float | None, float | None] = (None, None)
    if protocol.paper:
        recipe = spec.overrides.get("recipe", protocol.sweep.base.get("recipe", ""))
        printed = find_printed(protocol.sweep.id, recipe, spec.values, quantity.name)
    return Cell(
        settings=spec.overrides,
        quantity=quantity,
        mean=mean(values) if values else None,
        std=stdev(values) if len(values) > 1 else None,
        n=None if found.planned else len(values),
        printed=printed[0],
        printed_deviation=printed[1],
        signatures=() if found.planned else tuple(runs["signature"]),
    )
