"""The tables by id: every file here defines one, as `TABLE`."""

import re
import sys

from analysis import registry
from analysis.layout import Definition


def table_ids() -> list[str]:
    """All ids, in the papers' order: SpFDE's text, its appendix, MEST; A2 before A10."""
    return sorted(registry.names(sys.modules[__name__]), key=_in_paper)


def _in_paper(name: str) -> tuple[int, list[str | int]]:
    parts: list[str | int] = [int(text) if text.isdigit() else text for text in re.split(r"(\d+)", name)]
    return "TAM".find(name[0]) % 4, parts  # others last


def find_table(name: str) -> Definition:
    """The definition of a table.

    Raises:
        UserError: there is none of that name.
    """
    table: Definition = registry.find(sys.modules[__name__], "TABLE", name, table_ids())
    return table
