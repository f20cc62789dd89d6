"""The tables by id: every file here defines one, as `TABLE`."""

import re
from importlib import import_module
from pkgutil import iter_modules

from analysis.layout import Definition
from spfde_exp.errors import UserError


def table_ids() -> list[str]:
    """All ids, numbers in order."""
    names = (module.name for module in iter_modules(__path__))
    return sorted(names, key=lambda name: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", name)])


def find_table(name: str) -> Definition:
    """The definition of a table.

    Raises:
        UserError: there is none of that name.
    """
    if name not in table_ids():
        raise UserError(f"table '{name}' is unknown; allowed: {', '.join(table_ids())}, or list")
    table: Definition = import_module(f"{__name__}.{name}").TABLE
    return table
