"""The papers' printed values, and what is inconsistent in them: no number of a paper stands elsewhere.

`printed/<table>.csv` has a row per printed value, with the columns of `FIXED`; every other column is a key of the flat
resolved configuration and says which runs the value is of, an empty field anything. docs/printed.md describes them.
`footnotes.csv` has a row per remark.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "printed"
FIXED = ("paper", "table", "system", "recipe", "quantity", "value", "unit", "deviation", "source")


def printed_values(table: str) -> list[dict[str, str]]:
    """All rows of a table in the paper's order; none for one that no paper prints."""
    path = FOLDER / f"{table}.csv"
    return list(_read(path)) if path.is_file() else []


def find_printed(
    table: str, recipe: str, values: Mapping[str, Any], quantity: str = "test_acc"
) -> tuple[float | None, float | None]:
    """A number of a table and its standard deviation, where printed.

    Args:
        table: id of the table.
        recipe: the recipe option that a run was trained by.
        values: its resolved configuration, flat.
        quantity: a key of summary.json, or what docs/printed.md lists besides.

    Returns:
        Both in the unit of that key (accuracies in percent, FLOPs absolute, shares from 0 to 1); None if not printed.
    """
    for row in matching(table, recipe, values):
        if row["quantity"] == quantity and row["unit"]:  # a formula has none
            unit = float(row["unit"])
            return float(row["value"]) * unit, float(row["deviation"]) * unit if row["deviation"] else None
    return None, None


def matching(table: str, recipe: str, values: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The rows of a table that are of a run with this recipe and flat configuration."""
    for row in printed_values(table):
        keys = [key for key in row if key not in FIXED and row[key]]
        if row["recipe"] in ("", recipe) and all(_equal(row[key], values.get(key)) for key in keys):
            yield row


def footnotes(table: str) -> list[str]:
    """Remarks on a table or figure."""
    return [row["text"] for row in _read(FOLDER / "footnotes.csv") if row["table"] == table]


def _equal(field: str, value: Any) -> bool:
    if isinstance(value, int | float):
        try:
            return math.isclose(float(field), value)
        except ValueError:
            return False
    return field == ("none" if value is None else value)


@cache
def _read(path: Path) -> tuple[dict[str, str], ...]:
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))
