"""A table as a page shows it: each number with the printed one beside it, a value to sort by, and its runs."""

from dataclasses import dataclass

from analysis.build import Cell, Shown, Table
from analysis.layout import Fact
from analysis.report.behind import Behind
from analysis.text import MISSING, difference, heads, printed, shown


@dataclass(frozen=True)
class Head:
    """A column's label, or one over several columns."""

    text: str
    span: int = 1


@dataclass(frozen=True)
class Field:
    """What stands in one place.

    Attributes:
        id: by which other pages point to it.
        text: as in every other format.
        sort: the unrounded number; empty for a text.
        printed: what the paper has there; empty where it has nothing.
        difference: to what is printed, with a star where it is beyond noise.
        missing: whether runs for it are missing.
        runs: id of the group of runs that it is made from; empty without any.
    """

    id: str
    text: str
    sort: str = ""
    printed: str = ""
    difference: str = ""
    missing: bool = False
    runs: str = ""

    @property
    def beyond_noise(self) -> bool:
        """Whether the difference is more than seeds explain."""
        return self.difference.endswith("*")


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    label: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Grid:
    """A table's parts.

    Attributes:
        corner: what the rows are.
        over: labels over several columns; empty if there are none.
        head: a label per column.
        rows: in the table's order.
        sortable: whether each column holds numbers of one kind.
    """

    corner: str
    over: tuple[Head, ...]
    head: tuple[Head, ...]
    rows: tuple[Row, ...]
    sortable: bool

    @property
    def compares(self) -> bool:
        """Whether the paper prints any of the numbers."""
        return any(field.printed for row in self.rows for field in row.fields)


def place(row: int, column: int) -> str:
    """Id of a field, from 1 on."""
    return f"r{row}c{column}"


def grid(table: Table, behind: Behind) -> Grid:
    """The parts of `table`; each number points to its group in `behind`."""
    rows = tuple(
        Row(label, tuple(_field(table, behind, item, place(r, c)) for c, item in enumerate(items, 1)))
        for r, (label, items) in enumerate(table.rows, 1)
    )
    over, labels = heads(table)
    return Grid(table.head[0], tuple(Head(*one) for one in over), tuple(map(Head, labels)), rows, _sortable(table))


def _field(table: Table, behind: Behind, item: Shown, id_: str) -> Field:
    if not isinstance(item, Cell):
        return Field(id_, shown(item), printed=printed(item) if table.paper else "")
    return Field(
        id=id_,
        text=shown(item),
        sort="" if item.mean is None else repr(item.mean),
        printed=printed(item),
        difference=difference(item),
        missing=shown(item) == MISSING,
        runs=behind.id_of(item.signatures) if item.n else "",
    )


def _sortable(table: Table) -> bool:
    """Sorting rows of several kinds, such as those of SpFDE Table A10, would tear apart what belongs together."""
    columns = zip(*(items for _, items in table.rows), strict=True)
    return len(table.rows) > 1 and all(len({_kind(item) for item in column} - {""}) <= 1 for column in columns)


def _kind(item: Shown) -> str:
    if isinstance(item, Cell):
        return item.quantity.name
    return "fact" if isinstance(item, Fact) else item and "text"
