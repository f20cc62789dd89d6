"""docs/extending.md, followed word for word in a copy of the project, does what it says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PARTS = ("analysis", "conf", "hydra_plugins", "spfde_exp", "sweeps")
BLOCK = re.compile(r"(?:^`(?P<path>[\w./]+)`\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def follow(title: str, project: Path) -> list[str]:
    """Write and change the files that a section names; its commands."""
    commands, path = [], Path()
    for block in BLOCK.finditer(section(title)):
        if block["path"]:
            path = project / block["path"]
        if block["kind"] == "sh":
            commands += block["text"].strip().splitlines()
        elif block["kind"] == "diff":
            change(path, block["text"].splitlines())
        else:
            assert not path.exists(), f"{path} is there already"
            path.write_text(block["text"], encoding="utf-8")
    return commands


def change(path: Path, lines: list[str]) -> None:
    """Apply a hunk whose context lines are in the file once."""
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] != "+")
    after = "".join(f"{line[1:]}\n" for line in lines if line[0] != "-")
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path.name} has changed: the page shows {before!r}"
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    copy = tmp_path / "project"
    for name in PARTS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def run(project: Path, command: str, *more: str) -> str:
    """What a command of the page prints, with `more` overrides."""
    words = [sys.executable, *command.split()[1:], *more]
    environment = os.environ | {"PYTHONPATH": str(project)}
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def trained(project: Path, command: str, *more: str) -> dict[str, float]:
    run(project, command, "debug=tiny", "logger=none", *more)
    (summary,) = (project / "runs").glob("*/summary.json")
    return json.loads(summary.read_text())  # type: ignore[no-any-return]


def test_method(project: Path) -> None:
    (command,) = follow("A method", project)
    assert "import torch" not in (project / "spfde_exp/sparse/methods/wander.py").read_text()
    assert trained(project, command)["sparsity"] == pytest.approx(0.95, abs=0.001)


def test_scheme(project: Path) -> None:
    (command,) = follow("A sparsity scheme", project)
    summary = trained(project, command)
    assert summary["sparsity"] == pytest.approx(0.9, abs=0.01)
    (config,) = (project / "runs").glob("*/config.yaml")
    assert "scheme: kernel" in config.read_text()


def test_model(project: Path) -> None:
    (command,) = follow("A model", project)
    summary = trained(project, command)
    assert summary["flops_reduction_freeze"] == pytest.approx(0.15, abs=0.02)
    plan = json.loads(next((project / "runs").glob("*/plan.json")).read_text())
    assert len(plan["freeze"]["blocks"]) == 6
    assert len(plan["sparsity"]["layers"]) == 6  # every convolution but the first


def test_data_set(project: Path) -> None:
    (command,) = follow("A data set", project)
    fake = """
import numpy, torchvision.datasets
class USPS:
    def __init__(self, root, train, download):
        count = 7291 if train else 2007
        self.targets = [index % 10 for index in range(count)]
        shade = numpy.array(self.targets, dtype=numpy.uint8)[:, None, None] * 25
        self.data = numpy.broadcast_to(shade, (count, 16, 16)).copy()
torchvision.datasets.USPS = USPS
"""
    (project / "sitecustomize.py").write_text(fake)  # there is no network: images of ten shades
    summary = trained(project, command, "dataset.test_subset=100")
    assert summary["test_acc"] > 15  # ten shades are told apart better than by chance


def test_table(project: Path) -> None:
    (command,) = follow("A table", project)
    text = run(project, command)  # nothing is trained yet
    assert "Freezing at three sparsities" in text
    assert all(word in text for word in ("sparsity 80 %", "sparsity 90 %", "sparsity 95 %", "10 %", "20 %"))
