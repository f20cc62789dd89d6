"""The configurations of many jobs: Hydra composes once per set of options, and what jobs differ in is filled in.

Hydra needs some 0.1 s for each job, and a sweep may have a thousand. But most of them choose the same options of
config groups and differ in plain values, which Hydra applies last, over what it has composed. Whatever is not as
simple as that is left to Hydra.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spfde_exp.config import resolve
from spfde_exp.jobs import Unavailable, sweep_files
from spfde_exp.launch.available import unavailable
from spfde_exp.options import RATIO_GROUPS, OptionSource
from spfde_exp.schema import Config

STAND_IN = 0.1234509876  # composed in place of a ratio, whatever its value
FROM_OUTSIDE = re.compile(r"\$\{oc\.env:[^${}]*\}")  # an interpolation that no key can change

Plain = dict[str, Any]


def compose_jobs(
    config_loader: ConfigLoader, master_config: DictConfig, job_overrides: Sequence[Sequence[str]]
) -> list[Config | Unavailable]:
    """For each job what `resolve(config_loader.load_sweep_config(master_config, overrides))` gives.

    Raises:
        UserError, HydraException, OmegaConfBaseException: the same as that, for the first job that is wrong.
    """
    composer = Composer(config_loader, master_config)
    answers: list[Config | Unavailable] = []
    for overrides in map(list, job_overrides):
        missing = unavailable(overrides, config_loader) if sweep_files(overrides) else []
        answers.append(Unavailable(tuple(missing)) if missing else composer.config(overrides))
    return answers


@dataclass(frozen=True)
class _Option:
    """An override that chooses an option of a group."""

    text: str
    ratio: tuple[str, float] | None = None  # group and number that `text` has a stand-in for


@dataclass(frozen=True)
class _Value:
    """An override that sets a leaf."""

    path: tuple[str, ...]
    value: Any


@dataclass(frozen=True)
class _Base:
    """What Hydra made of a set of options; `linked` where values look at other keys, and are not resolved yet."""

    plain: Plain
    linked: bool


class Composer:
    """Configurations of jobs, one by one."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self.parser = OverridesParser.create()
        self.sources = loader.get_sources()
        self.simple = not master.hydra.searchpath  # that adds sources which we do not know of
        self._read: dict[str, _Option | _Value | None] = {}
        self._bases: dict[tuple[str, ...], _Base | None] = {}

    def config(self, overrides: list[str]) -> Config:
        """What `resolve(loader.load_sweep_config(master, overrides))` gives."""
        plain = self._fill_in(overrides) if self.simple else None
        return resolve(self.loader.load_sweep_config(self.master, overrides) if plain is None else plain)

    def _fill_in(self, overrides: list[str]) -> Plain | None:
        """The job's configuration, resolved; None where Hydra has to compose it, or to say what is wrong."""
        parts = [self._part(text) for text in overrides]
        if any(part is None for part in parts):
            return None
        options = [part for part in parts if isinstance(part, _Option)]
        sweeps = tuple(option.text for option in options if option.text.startswith("+sweep="))
        base = self._base(tuple(option.text for option in options if option.text not in sweeps))
        if base is None:
            return None
        plain = deepcopy(base.plain)
        for group, number in dict(option.ratio for option in options if option.ratio).items():
            chosen, key = plain.get(group), RATIO_GROUPS[group][2]
            if isinstance(chosen, dict) and chosen.get(key) == STAND_IN:  # else a recipe has replaced it
                chosen[key] = number
        if sweeps and not self._mark(plain, sweeps):
            return None
        for part in parts:
            if isinstance(part, _Value) and not _set(plain, part):
                return None
        return self._resolved(plain) if base.linked else plain

    def _mark(self, plain: Plain, sweeps: tuple[str, ...]) -> bool:
        """Put down which sweeps the job belongs to; False where that would change anything else."""
        without, marked = self._base(()), self._base(sweeps)
        if without is None or marked is None or {**marked.plain, "sweep": 0} != {**without.plain, "sweep": 0}:
            return False
        plain["sweep"] = deepcopy(marked.plain["sweep"])
        return True

    # -- overrides

    def _part(self, text: str) -> _Option | _Value | None:
        if text not in self._read:
            try:
                (override,) = self.parser.parse_overrides([text])
                self._read[text] = self._understood(override, text)
            except Exception:  # Hydra says what is wrong with it
                self._read[text] = None
        return self._read[text]

    def _understood(self, override: Override, text: str) -> _Option | _Value | None:
        value: Any = override.value()
        if override.is_sweep_override() or override.is_hydra_override() or isinstance(value, dict):
            return None
        key = override.key_or_group
        if any(source.is_group(key) for source in self.sources):
            if (ratio := self._ratio(override, value)) is not None:
                return _Option(f"{key}={STAND_IN}", (key, ratio))
            return _Option(text)
        if override.type != OverrideType.CHANGE or override.package is not None or not _is_plain(value):
            return None
        return _Value(tuple(key.split(".")), value)

    def _ratio(self, override: Override, value: Any) -> float | None:
        """The number of a ratio group, unless 0, or a file of that name, stands for an option of its own."""
        if override.key_or_group not in RATIO_GROUPS or override.type != OverrideType.CHANGE or override.package:
            return None
        path = f"{override.key_or_group}/{value}"
        source = next((source for source in self.sources if source.is_config(path)), None)
        return float(value) or None if isinstance(source, OptionSource) else None

    # -- options

    def _base(self, options: tuple[str, ...]) -> _Base | None:
        if options not in self._bases:
            try:
                self._bases[options] = self._composed(options)
            except Exception:  # Hydra says what is wrong with the job
                self._bases[options] = None
        return self._bases[options]

    def _composed(self, options: tuple[str, ...]) -> _Base | None:
        config = self.loader.load_sweep_config(self.master, list(options))
        plain: Any = OmegaConf.to_container(config, resolve=False)
        del plain["hydra"]
        links = [text for text in _texts(plain) if "${" in text]
        if any("hydra" in text for text in links):  # Hydra's own part of a configuration differs from job to job
            return None
        outside = {text for text in links if FROM_OUTSIDE.fullmatch(text)}
        plain = _mapped(plain, lambda text: OmegaConf.create({"it": text})["it"] if text in outside else text)
        return _Base(plain, linked=len(outside) < len(set(links)))

    def _resolved(self, plain: Plain) -> Plain | None:
        config = OmegaConf.create(plain)
        OmegaConf.copy_cache(self.master, config)
        try:
            answer: Any = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException:
            return None
        return dict(answer)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(not isinstance(item, list) and _is_plain(item) for item in value)
    if isinstance(value, str):
        return "${" not in value and value != "???"
    return value is None or isinstance(value, (bool, int, float))


def _set(plain: Plain, new: _Value) -> bool:
    """Replace a leaf; False where there is none."""
    node: Any = plain
    *groups, leaf = new.path
    for group in groups:
        node = node.get(group) if isinstance(node, dict) else None
    if not isinstance(node, dict) or leaf not in node or isinstance(node[leaf], dict):
        return False
    node[leaf] = deepcopy(new.value)
    return True


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _mapped(value: Any, change: Callable[[str], Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return change(value) if isinstance(value, str) else value
