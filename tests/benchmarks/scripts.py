"""What tests of the benchmarks share: a small size, and how to read the tables that they print."""

import re
from collections.abc import Callable
from itertools import pairwise

Table = list[dict[str, str]]
Run = Callable[..., list[Table]]
SMALL = ("--model", "resnet14", "--width", "0.25", "--batch", "8")


def read_tables(output: str) -> list[Table]:
    """All tables of a benchmark, by their headings: each has a title, a heading and lines in aligned columns."""
    return [_table(part.splitlines()[1:]) for part in output.strip().split("\n\n")]


def _table(lines: list[str]) -> Table:
    heading = list(re.finditer(r"\S+(?: \S+)*", lines[0]))
    columns = list(pairwise([*(name.start() for name in heading), None]))
    return [
        {name[0]: line[slice(*column)].strip() for name, column in zip(heading, columns, strict=True)}
        for line in lines[1:]
    ]


def median_of(cell: str) -> float:
    """The median of a cell such as ``0.500 [0.479, 0.531]``."""
    return float(cell.split()[0])
