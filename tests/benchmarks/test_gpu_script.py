"""benchmarks/gpu.sh runs all its stages without a GPU, in small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def gpu_sh(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "SPFDE_DATA"}
    environment |= {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    command = [str(ROOT / "benchmarks" / "gpu.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_stage_in_small_on_the_cpu() -> None:
    before = set((ROOT / "results").glob("*"))
    # Few runs can be trained in 3 s: the sweep is cut off, and that is no error.
    answer = gpu_sh("--device", "cpu", "--tiny", "A10", "3")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    rows = [line.split() for line in answer.stdout.splitlines() if line]
    stages = [row[0] for row in rows]
    counts = {"correct": 7, "graphs": 1, "arithmetic": 2, "determinism": 1, "epoch": 6, "packing": 2}
    assert {stage: stages.count(stage) for stage in counts} == counts
    assert [row[-1] for row in rows if row[0] == "correct"] == ["ok"] * 7
    assert "sweep A10 into" in answer.stdout
    assert "time is up with 0 runs done; the same command goes on" in answer.stdout
    assert set((ROOT / "results").glob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--fast"],
            "unknown option --fast; usage: benchmarks/gpu.sh [--device D] [--tiny] [SWEEP [SECONDS]]",
        ),
        (["--tiny", "A99"], "sweep 'A99' is unknown; sweeps/ lists them"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments: list[str], line: str) -> None:
    answer = gpu_sh(*arguments)
    assert (answer.returncode, answer.stdout, answer.stderr) == (2, "", f"{line}\n")
