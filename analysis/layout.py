"""What a table looks like: a definition is one file in tables/, which says where its cells go."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]  # a resolved configuration, flat


@dataclass(frozen=True)
class Layout:
    """Rows and columns of a table.

    Attributes:
        head: the corner, then a label per column.
        rows: label of each row, then per column the number of a cell in the sweep file's order, or a text.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int | str, ...]], ...]


@dataclass(frozen=True)
class Definition:
    """A table of a paper. Title, cells and seeds are those of the sweep file with the same id.

    Attributes:
        id: of the table and its sweep file.
        source: where the paper has it.
        arrange: from the cells' configurations to the layout.
    """

    id: str
    source: str
    arrange: Callable[[Sequence[Values]], Layout]


def grid(corner: str, rows: str, row_label: str, columns: str) -> Callable[[Sequence[Values]], Layout]:
    """A layout with a row per value of one key and a column per value of another, both ratios.

    Args:
        corner: what the columns are.
        rows: configuration key.
        row_label: text before a row's value.
        columns: configuration key.
    """

    def arrange(cells: Sequence[Values]) -> Layout:
        places = {(cell[rows], cell[columns]): index for index, cell in enumerate(cells)}
        down = dict.fromkeys(row for row, _ in places)
        across = dict.fromkeys(column for _, column in places)
        return Layout(
            (corner, *(percent(column) for column in across)),
            tuple((f"{row_label} {percent(row)}", tuple(places[row, c] for c in across)) for row in down),
        )

    return arrange


def percent(ratio: float) -> str:
    """0.275 as ``27.5 %``, 0 as ``None`` (as in the papers)."""
    return f"{100 * ratio:.6g} %" if ratio else "None"
