"""A verb as the command line calls it, in this process; and runs that were really trained."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., None]:
    """``python -m spfde_exp.runs VERB --runs tmp_path WORDS...``; raises what it would tell."""

    def call(verb: str, *words: str) -> None:
        module = import_module(f"spfde_exp.verbs.{verb}")
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        module.run(parser.parse_intermixed_args(["--runs", str(tmp_path), *words]))

    return call
