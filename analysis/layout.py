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
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Item, ...]], ...]


Arrange = Callable[[Sequence[Spec]], Layout]


@dataclass(frozen=True)
class Definition:
    """A table of a paper. Title, cells and seeds are those of the sweep file with the same id.

    Attributes:
        id: of the table and its sweep file.
        source: where the paper has it.
        arrange: from the cells to the layout.
        baseline: which cell accelerations are relative to.
        timed: whether only runs count that had a device to themselves, all the same one.
    """

    id: str
    source: str
    arrange: Arrange
    baseline: Callable[[Spec], bool] | None = None
    timed: bool = False


def pivot(
    rows: Name, columns: Name | None = None, quantities: Sequence[Quantity] = (ACCURACY,), corner: str = ""
) -> Arrange:
    """A layout with a row for each name of one kind and a column for each of another, in the cells' order.

    Args:
        rows: name of a cell's row.
        columns: name of its column; without, there is a column per quantity only.
        quantities: shown side by side in every column.
        corner: what the columns are.

    Raises:
        ValueError: cells of different configurations have the same place.
    """

    def arrange(cells: Sequence[Spec]) -> Layout:
        places: dict[tuple[str, str], int] = {}
        for index, cell in enumerate(cells):
            first = places.setdefault((rows(cell), columns(cell) if columns else ""), index)
            if cells[first].key != cell.key:
                raise ValueError(f"cells {first + 1} and {index + 1} have the same place")
        down, across = (list(dict.fromkeys(names)) for names in zip(*places, strict=True))
        head = [_head(column, quantity, len(quantities)) for column in across for quantity in quantities]

        def row(name: str) -> tuple[Item, ...]:
            found = [places.get((name, column)) for column in across]
            return tuple("" if cell is None else Entry(cell, q) for cell in found for q in quantities)

        return Layout((corner, *head), tuple((name, row(name)) for name in down))

    return arrange


def _head(column: str, quantity: Quantity, several: int) -> str:
    return f"{column} {quantity.title}".strip() if several > 1 or not column else column
