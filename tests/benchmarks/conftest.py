"""Runs a benchmark as its command does, in this process."""

import runpy
import sys
from pathlib import Path

import pytest

from tests.benchmarks.scripts import Run, Table, read_tables

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the benchmarks, from which their modules can be imported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return FOLDER


@pytest.fixture
def run_benchmark(benchmarks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`python benchmarks/NAME.py ARGUMENTS...`: its tables."""

    def run(name: str, *arguments: str) -> list[Table]:
        script = str(benchmarks / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(script, run_name="__main__")
        return read_tables(capsys.readouterr().out)

    return run
