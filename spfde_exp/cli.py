"""The command: `python -m spfde_exp` and `spfde-exp`. Composes with Hydra and turns errors into one line."""

import argparse
import difflib
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from spfde_exp.config import explain, known_keys, resolve
from spfde_exp.errors import UserError
from spfde_exp.options import RATIO_GROUPS, RATIO_RULE, accept_numbers, folder


def main() -> None:
    """Run the command line in `sys.argv`; exit status 0 only if every run asked for is done."""
    import hydra

    accept_numbers()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    failure: list[Exception] = []

    def run_once(raw: DictConfig) -> float | None:
        if _is_sweep():  # another launcher or sweeper runs us: it wants to see what went wrong
            return task(raw)
        try:
            return task(raw)
        except Exception as error:  # Hydra would print lines of its own before ours
            failure.append(error)
            return None

    def command() -> None:
        hydra.main(version_base="1.3", config_path=str(folder("conf")), config_name="config")(run_once)()
        if failure:
            raise failure[0]

    guarded(command)


def task(raw: DictConfig) -> float | None:
    """One composed run: train it, or say what it would be."""
    if not _is_sweep() and ("sweep" in raw or "cell" in raw):
        raise UserError("+sweep= names many runs; add -m to run them all")
    config = resolve(raw)
    overrides = _task_overrides()
    if config.dry_run:
        from spfde_exp.launch.sweep import show_plan

        show_plan([(overrides, config)])
        return None
    from spfde_exp.launch.signals import StopWatch
    from spfde_exp.run import train
    from spfde_exp.store import CANCEL, RunFolder

    folder = RunFolder.of(config)
    folder.file(CANCEL).unlink(missing_ok=True)  # of an earlier run; this one is wanted
    with StopWatch(folder):
        return train(config, overrides)


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors here."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help tells the options")


def guarded(command: Callable[[], Any]) -> None:
    """Call `command`; an expected error becomes one line and exit status 1. HYDRA_FULL_ERROR=1 shows all of it."""
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing a page of its own
    try:
        command()
    except KeyboardInterrupt as interrupt:
        if full:
            raise
        print(f"{str(interrupt) or 'interrupted'}; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(143 if "SIGTERM" in str(interrupt) else 130)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if full:
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(1)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = "1" if full else "0"


def one_line(error: BaseException) -> str:
    """What was wrong, what is allowed and what to do, in one line."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, HydraException):
        return _hydra_line(error)
    if isinstance(error, OmegaConfBaseException):
        return explain(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())} (HYDRA_FULL_ERROR=1 shows where)"


def _hydra_line(error: HydraException) -> str:
    text = " ".join(str(error).split())
    if found := re.search(r"Could not find '([\w/-]+)/([^/']*)'", text):
        group, option = found.groups()
        options = re.search(r"Available options in '[^']+': (.*?)(?: Config search path:|$)", text)
        names = options.group(1).split() if options else []
        if group == "hydra/launcher":
            names = [name for name in names if name != "basic"]  # of Hydra's own sweeper
        allowed = ", ".join(names) or "none"
        number = f"{RATIO_RULE}, or one of: " if group in RATIO_GROUPS else ""
        plus = "+" if group == "sweep" else ""
        return f"{plus}{group}={option} is unknown; allowed: {number}{allowed}"
    if found := re.search(r"Ambiguous value for argument '(.+?)' 1\.", text):
        return f"{found.group(1)} names several values; add -m to run them all"
    if found := re.search(r"Could not override '([^']+)'", text):
        cause = error.__cause__
        if cause is not None and "not in struct" not in str(cause) and "not in '" not in str(cause):
            return explain(cause) if isinstance(cause, Exception) else text
        if found.group(1) in ("sweep", "cell"):
            example = "+sweep=A8 +cell=12" if found.group(1) == "cell" else "+sweep=A8"
            return f"{found.group(1)}= needs a plus sign: write {example}, after -m"
        if found.group(1) in known_keys():
            group = found.group(1).split(".")[0]
            return f"{found.group(1)} is not read with the {group}= of this run; choose another one, or leave it out"
        near = difflib.get_close_matches(found.group(1), known_keys(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        part = "hydra" if found.group(1).startswith("hydra.") else "job"
        return f"unknown key '{found.group(1)}'; {hint}--cfg {part} prints all keys"
    return text


def _task_overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


def _is_sweep() -> bool:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.get().mode == RunMode.MULTIRUN
