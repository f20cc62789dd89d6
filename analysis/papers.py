"""The papers' printed values, and what is inconsistent in them: no number of a paper stands elsewhere.

`printed/<table>.csv` has a row per printed value. Columns with a dot are configuration keys: they say which
run it is of. `recipe` is the recipe it was trained by; `value` is an accuracy in percent, `deviation` its
standard deviation, where printed; `source` says where it stands. `footnotes.csv` has a row per remark.
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "printed"


def printed_values(table: str) -> list[dict[str, str]]:
    """All rows of a table; none for one that no paper prints."""
    path = FOLDER / f"{table}.csv"
    return _read(path) if path.is_file() else []


def find_printed(table: str, recipe: str, values: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Printed accuracy and standard deviation of a flat configuration, in percent; None where not printed."""
    for row in printed_values(table):
        keys = [key for key in row if "." in key]
        if row["recipe"] == recipe and all(math.isclose(float(row[key]), values[key]) for key in keys):
            return float(row["value"]), float(row["deviation"]) if row["deviation"] else None
    return None, None


def footnotes(table: str) -> list[str]:
    """Remarks on a table."""
    return [row["text"] for row in _read(FOLDER / "footnotes.csv") if row["table"] == table]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
