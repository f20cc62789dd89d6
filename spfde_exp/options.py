"""What Hydra is taught: bare numbers for ratio groups, and sweep files as the group `sweep`.

Plain Hydra refuses ``sparsity=0.9`` where `sparsity` is a config group: its grammar reads a float, and a group
option must be text. Two small pieces fix that: numbers are turned into option names before composition
(`accept_numbers`), and a config source makes the option for any such name (`OptionSource`).
"""

import math
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from spfde_exp.errors import UserError

# group -> (option for 0, option that a number refines, key that takes the number)
RATIO_GROUPS = {
    "sparsity": ("dense", "unstructured", "target"),
    "freeze": ("none", "single_shot", "target"),
    "sieve": ("none", "circular", "ratio"),
}
OTHER_LAUNCHER = "knows no run folders; allowed: inline, local, slurm"
RATIO_RULE = "a number from 0 up to, not including, 1"


def folder(name: str) -> Path:
    """Where `conf` or `sweeps` lies: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).resolve().parent
    beside = package.parent / name
    return beside if (package.parent / "conf" / "config.yaml").is_file() else package / name


def ratio_name(group: str, number: float) -> str:
    """Option name of a number: ``0.9`` for 0.9, 0.90 and 0.9000000000000001 (Hydra's range() drifts).

    Raises:
        UserError: the number is outside [0, 1).
    """
    named = RATIO_GROUPS[group]
    if not math.isfinite(number) or not 0 <= number < 1 or float(f"{number:.10g}") >= 1:
        raise UserError(
            f"{group}={number:g} is impossible: {group} takes {RATIO_RULE}, or an option such as {group}={named[0]}"
        )
    return f"{number:.10g}"


def _is_ratio(name: str) -> bool:
    try:
        return 0 <= float(name) < 1
    except ValueError:
        return False


class OptionSource(ConfigSource):
    """Serves `<ratio group>/<number>`, and `sweep/<id>` from the sweeps folder."""

    @staticmethod
    def scheme() -> str:
        return "spfde"

    def load_config(self, config_path: str) -> ConfigResult:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        config: Any
        if group == "sweep" and self.is_config(config_path):
            config = OmegaConf.create({name: None})  # its key `sweep` lists the ids: of several files, all
        elif self.is_config(config_path):
            zero, base, key = RATIO_GROUPS[group]
            number = float(name)
            defaults: list[str] = ["_self_", zero] if number == 0 else [base, "_self_"]
            config = OmegaConf.create({"defaults": defaults} | ({key: number} if number else {}))
        else:
            raise ConfigLoadError(f"Config not found : {config_path}")
        return ConfigResult(provider=self.provider, path="spfde://", config=config, header={"package": None})

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path.rstrip("/") in ("", "sweep")

    def is_config(self, config_path: str) -> bool:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        if group == "sweep":
            return (folder("sweeps") / f"{name}.yaml").is_file()
        return group in RATIO_GROUPS and _is_ratio(name)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path.rstrip("/") == "sweep" and results_filter is not ObjectType.GROUP:
            return sorted(file.stem for file in folder("sweeps").glob("*.yaml"))
        return ["sweep"] if config_path == "" and results_filter is not ObjectType.CONFIG else []


class OptionSearchPath(SearchPathPlugin):
    """Adds `OptionSource` behind the configuration files, in this application only."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if any(element.path and element.path.endswith(str(folder("conf"))) for element in search_path.get_path()):
            search_path.append(provider="spfde", path="spfde://")


def _normalise(override: Override) -> Override:
    group = override.key_or_group
    if group in RATIO_GROUPS and override.package is None and not override.is_sweep_override():
        value = override.value()
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            override._value = ratio_name(group, float(value))
    return override


def _register_plugins() -> None:
    """Hydra finds plugins by listing the folders of `hydra_plugins`, and an editable install has none to list."""
    plugins = Plugins.instance()
    module = import_module("hydra_plugins.spfde_exp_plugin")
    for name in module.__all__:
        plugins.register(getattr(module, name))


def accept_numbers() -> None:
    """Teach Hydra's override parser that a number may name an option of a ratio group. Calling it again is free.

    The parser is the one funnel for the command line, `compose`, sweeps and their workers.
    """
    _register_plugins()
    parse = OverridesParser.parse_overrides
    if getattr(parse, "accepts_numbers", False):
        return

    @wraps(parse)
    def parse_overrides(self: OverridesParser, overrides: list[str]) -> list[Override]:
        return [_normalise(override) for override in parse(self, overrides)]

    parse_overrides.accepts_numbers = True  # type: ignore[attr-defined]
    OverridesParser.parse_overrides = parse_overrides  # type: ignore[method-assign]
