"""What a table looks like: a definition is one file in tables/, which says where its cells go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.names import Name
from analysis.protocol import Spec
from analysis.quantities import ACCURACY, Quantity


@dataclass(frozen=True)
class Entry:
    """One number of a cell.

    Attributes:
        cell: its number in the sweep file's order.
        quantity: what is shown of its runs.
    """

    cell: int
    quantity: Quantity = ACCURACY


@dataclass(frozen=True)
class Fact:
    """What follows from the code alone, without a run, and what the paper prints for it."""

    text: str
    printed: str | None = None


Item = Entry | Fact | str  # a text is part of the layout, such as an empty field


@dataclass(frozen=True)
class Layout:
    """Rows and columns of a table.

    Attributes:
        head: the corner, then a label per column.
        rows: label of each row, then an item per column.
        groups: what neighbouring columns have in common, per column, with which their labels begin; empty for none.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Item, ...]], ...]
    groups: tuple[str, ...] = ()


Arrange = Callable[[Sequence[Spec]], Layout]


@dataclass(frozen=True)
class Definition:
    """A table of a paper. Title, cells and seeds are those of the sweep file with the same id.

    Attributes:
        id: of the table and its sweep file.
        source: where the paper has it.
        arrange: from the cells to the layout.
        baseline: which cell accelerations are relative to; only runs count then that had that one's device to
            themselves.
    """

    id: str
    source: str
    arrange: Arrange
    baseline: Callable[[Spec], bool] | None = None


def pivot(
    rows: Name,
    columns: Name | None = None,
    quantities: Sequence[Quantity] = (ACCURACY,),
    corner: str = "",
    over: Name | None = None,
) -> Arrange:
    """A layout with a row for each name of one kind and a column for each of another, in the cells' order.

    Args:
        rows: name of a cell's row.
        columns: name of its column; without, there is a column per quantity only.
        quantities: shown side by side in every column.
        corner: what the columns are.
        over: what neighbouring columns have in common.

    Raises:
        ValueError: cells of different configurations have the same place.
    """

    def arrange(cells: Sequence[Spec]) -> Layout:
        places: dict[tuple[str, tuple[str, str]], int] = {}
        for index, cell in enumerate(cells):
            column = (over(cell) if over else "", columns(cell) if columns else "")
            first = places.setdefault((rows(cell), column), index)
            if cells[first].key != cell.key:
                raise ValueError(f"cells {first + 1} and {index + 1} have the same place")
        down = list(dict.fromkeys(name for name, _ in places))
        seen = list(dict.fromkeys(column for _, column in places))
        across = [column for name in dict.fromkeys(group for group, _ in seen) for column in seen if column[0] == name]
        several = len(quantities) > 1
        groups, head = [], []
        for group, name in across:
            for quantity in quantities:
                groups.append(f"{group} {name}".strip() if several else group)
                parts = (group, name, quantity.title if several or not name else "")
                head.append(" ".join(filter(None, parts)))

        def row(name: str) -> tuple[Item, ...]:
            found = [places.get((name, column)) for column in across]
            return tuple("" if cell is None else Entry(cell, q) for cell in found for q in quantities)

        grouped = tuple(groups) if any(groups) else ()
        return Layout((corner, *head), tuple((name, row(name)) for name in down), grouped)

    return arrange
