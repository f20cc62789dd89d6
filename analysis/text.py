"""What stands in a table's fields and below it, as text, the same in every format."""

from itertools import groupby

from analysis.build import Cell, Shown, Table
from analysis.layout import Fact

LEGEND = "Mean ± sample standard deviation (number of runs); accuracies are those of the test set after the last epoch."
NOISE = "A difference with * is more than seeds explain (Welch's test, 5 % level)."
MISSING = "—"


def grid(table: Table) -> list[list[str]]:
    """Header and rows as text; under the paper's recipe, printed values and differences follow each row."""
    lines = [list(table.head)]
    for label, row in table.rows:
        lines.append([label, *map(shown, row)])
        if table.paper and any(printed(item) for item in row):
            lines.append(["printed", *map(printed, row)])
        if table.paper and any(isinstance(item, Cell) and item.difference is not None for item in row):
            lines.append(["difference", *map(difference, row)])
    return lines


def heads(table: Table) -> tuple[list[tuple[str, int]], list[str]]:
    """Labels over several columns, each with their number, and what is left for a label per column."""
    labels = list(table.head[1:])
    if table.groups:
        labels = [label.removeprefix(group).strip() for label, group in zip(labels, table.groups, strict=True)]
    return [(name, len(list(members))) for name, members in groupby(table.groups)], labels


def shown(item: Shown) -> str:
    """What stands in a field."""
    if isinstance(item, Cell):
        if item.mean is None:
            return MISSING
        number = _number(item, item.mean, item.std)
        return number if item.n is None else f"{number} ({item.n})"
    return item.text if isinstance(item, Fact) else item


def printed(item: Shown) -> str:
    """What the paper has there; empty where it has nothing."""
    if isinstance(item, Cell):
        return "" if item.printed is None else _number(item, item.printed, item.printed_deviation)
    return (item.printed or "") if isinstance(item, Fact) else ""


def difference(item: Shown) -> str:
    """Measured less printed, marked where it is beyond noise."""
    if not isinstance(item, Cell) or item.difference is None:
        return ""
    return f"{item.difference / item.quantity.unit:+.{item.quantity.digits}f}" + ("*" if item.beyond_noise else "")


def _number(cell: Cell, value: float, deviation: float | None) -> str:
    """In the quantity's unit; what its digits do not show, such as the FLOPs of digits, as a power of ten."""
    unit, digits = cell.quantity.unit, cell.quantity.digits
    form = ".2e" if 0 < abs(value / unit) < 10**-digits else f".{digits}f"
    if deviation is None or not cell.quantity.deviates:
        return f"{value / unit:{form}}"
    return f"{value / unit:{form}} ± {deviation / unit:{form}}"


def remarks(table: Table) -> list[str]:
    """Everything below the table, but the command."""
    cells = [item for _, row in table.rows for item in row if isinstance(item, Cell)]
    legend = [LEGEND] if any(cell.n is not None for cell in cells) else []
    legend += [NOISE] if any(cell.beyond_noise for cell in cells) else []
    return [*legend, *table.footnotes, *table.notes]
