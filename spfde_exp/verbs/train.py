"""What rerun and retry share: stored configurations go through the same engine as a sweep."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from spfde_exp.config import NOT_IDENTITY, resolve, signature
from spfde_exp.errors import UserError
from spfde_exp.options import OTHER_LAUNCHER, accept_numbers, folder
from spfde_exp.progress import Reader, RunProgress
from spfde_exp.schema import Config
from spfde_exp.selection import parsed_value
from spfde_exp.store import RunFolder

if TYPE_CHECKING:
    from spfde_exp.launch.sweep import Launcher

OPTIONS_HELP = "launcher and its options, such as hydra/launcher=slurm hydra.launcher.partition=gpu; device=, threads="
FIXED = ("runs_dir", "sweep", "effort", "force")  # not the run's identity, and yet not to be set here


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Signatures, and overrides, of a command line that has both."""
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]


def train_again(
    runs: Sequence[tuple[RunFolder, RunProgress]], overrides: Sequence[str], reader: Reader, force: bool
) -> None:
    """Train runs with their stored configurations.

    Args:
        overrides: the launcher's options, and keys that change no result.
        force: from the start, also what is done; what there is stays until the new training begins.

    Raises:
        UserError: a setting that would make it another run, or a configuration that cannot be used.
        SweepFailed: some run is not done in the end.
    """
    from spfde_exp.launch.sweep import raise_if_failed, run_sweep

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = [word for word in overrides if word.startswith(("hydra.", "hydra/"))]
    settings = dict(_setting(word) for word in overrides if word not in options)
    jobs = [
        (
            (run_folder.json("meta") or {}).get("overrides") or run.settings.split(),
            stored_config(run_folder, reader, settings, force),
        )
        for run_folder, run in runs
    ]
    raise_if_failed(run_sweep(jobs, launcher(options)))


def stored_config(run_folder: RunFolder, reader: Reader, settings: dict[str, Any], force: bool) -> Config:
    """The configuration that a run was planned with, in the folder where it lies now, with `settings` changed.

    Raises:
        UserError: there is none, or it has another signature by now.
    """
    stored = reader.config(run_folder)
    if not stored:
        raise UserError(f"run {run_folder.signature} has no config.yaml that can be read; remove it with runs rm")
    tree: dict[str, Any] = {**stored, "runs_dir": str(run_folder.path.parent)}
    tree["sweep"] = list(reader.read(run_folder).sweep_files) or None
    for key, value in settings.items():
        *groups, name = key.split(".")
        part = tree
        for group in groups:
            part[group] = dict(part[group])
            part = part[group]
        part[name] = value
    config = replace(resolve(tree), force=force)
    if signature(config) != run_folder.signature:
        raise UserError(
            f"run {run_folder.signature} was trained under other rules, today its settings have signature "
            f"{signature(config)}; train them with python -m spfde_exp"
        )
    return config


def launcher(options: Sequence[str]) -> "Launcher":
    """The engine that ``hydra/launcher=`` and ``hydra.launcher.*`` name, as in a sweep.

    Raises:
        UserError: it is a launcher that knows no run folders, such as Hydra's own.
    """
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    accept_numbers()
    with initialize_config_dir(config_dir=str(folder("conf")), version_base="1.3"):
        composed = compose("config", overrides=list(options), return_hydra_config=True)
    module, _, plugin = composed.hydra.launcher._target_.rpartition(".")
    if not hasattr(getattr(import_module(module), plugin), "engine"):
        raise UserError(f"hydra/launcher={composed.hydra.runtime.choices['hydra/launcher']} {OTHER_LAUNCHER}")
    engine: Launcher = instantiate(composed.hydra.launcher).engine()
    return engine


def _setting(word: str) -> tuple[str, Any]:
    key = word.partition("=")[0]
    allowed = [name for name in NOT_IDENTITY if name not in FIXED]
    if not any(key == name or key.startswith(f"{name}.") for name in allowed):
        raise UserError(
            f"{word} would make it another run, which python -m spfde_exp trains; "
            f"allowed: hydra/launcher, hydra.launcher.*, {', '.join(allowed)}"
        )
    if key == "logger":
        raise UserError(f"{word}: a run keeps its logger; allowed: single keys, such as logger.mode=disabled")
    return key, parsed_value(word)
