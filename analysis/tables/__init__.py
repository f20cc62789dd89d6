"""The tables by id: every file here defines one, as `TABLE`."""

import re
from importlib import import_module
from pkgutil import iter_modules

from analysis.layout import Definition
from spfde_exp.errors import UserError


def table_ids() -> list[str]:
    """All ids, in the papers' order: SpFDE's text, its appendix, MEST; A2 before A10."""
    return sorted((module.name for module in iter_modules(__path__)), key=_in_paper)


def _in_paper(name: str) -> tuple[int, list[str | int]]:
    parts: list[str | int] = [int(text) if text.isdigit() else text for text in re.split(r"(\d+)", name)]
    return "TAM".find(name[0]) % 4, parts  # others last


def find_table(name: str) -> Definition:
    """The definition of a table.

    Raises:
        UserError: there is none of that name.
    """
    if name not in table_ids():
        raise UserError(f"table '{name}' is unknown; allowed: {', '.join(table_ids())}, or list")
    table: Definition = import_module(f"{__name__}.{name}").TABLE
    return table
