"""Definitions by id: every file of a package holds one."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from spfde_exp.errors import UserError


def names(package: ModuleType) -> set[str]:
    """The ids."""
    return {module.name for module in iter_modules(package.__path__)}


def find(package: ModuleType, attribute: str, name: str, allowed: list[str]) -> Any:
    """The definition `name`, which its file has as `attribute`.

    Raises:
        UserError: there is none of that name.
    """
    if name not in allowed:
        raise UserError(f"{attribute.lower()} '{name}' is unknown; allowed: {', '.join(allowed)}, or list")
    return getattr(import_module(f"{package.__name__}.{name}"), attribute)
