"""Resolved configurations of many cells, in a few milliseconds each, and in far less the next time."""

import json
from dataclasses import asdict
from functools import cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.types import RunMode

from analysis.kept import kept
from spfde_exp.launch.compose import Composer
from spfde_exp.options import accept_numbers, folder


@cache
def composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The resolved configuration that the command line makes of `overrides`, as a nested mapping.

    Raises:
        UserError, HydraException, OmegaConfBaseException: an override is wrong.
    """
    answer: dict[str, Any] = kept("compositions").get(json.dumps(overrides), lambda: _composed(overrides))
    return answer


def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    return asdict(_composer().config(list(overrides)))


@cache
def _composer() -> Composer:
    accept_numbers()
    loader = ConfigLoaderImpl(create_config_search_path(str(folder("conf"))))
    return Composer(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))
