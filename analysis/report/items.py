"""Every table and figure of the report, or why one cannot be made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from analysis.build import Table, fill
from analysis.drawing.drawn import Drawn, draw
from analysis.drawing.panel import Figure
from analysis.figures import figure_ids, find_figure
from analysis.layout import Definition
from analysis.tables import find_table, table_ids
from spfde_exp.cli import one_line
from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import load_sweep

EXPECTED = (UserError, HydraException, OmegaConfBaseException)


@dataclass(frozen=True)
class Item:
    """A table or a figure.

    Attributes:
        id: of it; its page is named so.
        title: what it shows.
        source: where the paper has it.
        made: what it is; None where it cannot be made.
        error: why not, in one line; else empty.
    """

    id: str
    title: str
    source: str
    made: Table | Drawn | None
    error: str = ""


def make_items(frame: pd.DataFrame, arguments: Sequence[str] = (), runs_dir: str = "runs") -> list[Item]:
    """All tables, then all figures.

    Args:
        frame: what `load_runs` gave.
        arguments: overrides that choose protocol and seeds, for all of them.
        runs_dir: where the commands for missing runs put them.

    Raises:
        UserError: none of those that show runs can be made, all for the same reason.
    """
    runs = (frame, arguments, runs_dir)
    items = [_item(table, partial(fill, table, *runs)) for table in map(find_table, table_ids())]
    items += [_item(figure, partial(draw, figure, *runs)) for figure in map(find_figure, figure_ids())]
    errors = {item.error for item in items if load_sweep(item.id).cells}
    if len(errors) == 1 and "" not in errors:
        raise UserError(*errors)
    return items


def _item(what: Definition | Figure, make: Callable[[], Table | Drawn]) -> Item:
    title = load_sweep(what.id).title
    try:
        return Item(what.id, title, what.source, make())
    except EXPECTED as error:
        return Item(what.id, title, what.source, None, one_line(error))
