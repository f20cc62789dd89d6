"""What a sweep file names and this version does not have yet. Needs no torch."""

from functools import cache, lru_cache
from typing import Any

from spfde_exp.config import known_keys
from spfde_exp.jobs import sweep_files
from spfde_exp.launch.sweepfile import load_sweep
from spfde_exp.options import OptionSource, folder
from spfde_exp.schema import CHOICES

RATIOS = OptionSource("spfde", "spfde://")


def unavailable(job: list[str], config_loader: Any) -> list[str]:
    """Settings of a job that come from a sweep file and name what does not exist: an option, a value, or a key.

    What the user typed is not judged here: a mistake there stays an error.

    Args:
        job: overrides as `spfde_exp.launch.sweepfile.expand` makes them, the sweep files among them.
        config_loader: Hydra's, which knows the user's own options too; None looks into conf/ only.

    Returns:
        Such as ``["method=snip"]``, in the job's order.
    """
    told = [_told(name, _changed(name)) for name in sweep_files(job)]
    conf = str(folder("conf"))
    return [word for word in job if any(word in words for words in told) and not _exists(word, config_loader, conf)]


def _changed(name: str) -> int:
    path = folder("sweeps") / f"{name}.yaml"
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=256)
def _told(name: str, changed: int) -> frozenset[str]:
    """Every setting of a sweep file, as it was written at `changed`."""
    sweep = load_sweep(name)
    return frozenset(f"{key}={value}" for settings in (sweep.base, *sweep.cells) for key, value in settings.items())


@lru_cache(maxsize=4096)
def _exists(word: str, config_loader: Any, conf: str) -> bool:
    key, _, value = word.partition("=")
    if options := _options(key, config_loader, conf):
        return value in options or RATIOS.is_config(f"{key}/{value}")
    return key in _keys() and (key not in CHOICES or value in CHOICES[key])


@lru_cache(maxsize=256)
def _options(group: str, config_loader: Any, conf: str) -> frozenset[str]:
    """Options of a config group, none if there is no such group."""
    if config_loader is not None:
        return frozenset(config_loader.get_group_options(group))
    return frozenset(file.stem for file in (folder("conf") / group).glob("*.yaml"))


@cache
def _keys() -> frozenset[str]:
    return frozenset(known_keys())
