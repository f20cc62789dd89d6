"""The examples of docs/extending.md do what the page says."""

import re
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from spfde_exp.config import compose, flatten, resolve
from spfde_exp.plan import make_plan

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def text(language: str, section: str) -> str:
    (found,) = re.findall(rf"```{language} {section}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def code(section: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": f"example_{section}"}
    exec(compile(text("python", section), f"extending.md, {section}", "exec"), names)
    return names


def config_with(section: str, *overrides: str) -> dict[str, Any]:
    """A composed configuration, with the page's YAML instead of the group's own option."""
    values = yaml.safe_load(text("yaml", section))
    config = compose(overrides)
    check_keys(values, getattr(config, section))
    return asdict(config) | {section: values}


def check_keys(values: dict[str, Any], group: Any) -> None:
    """The YAML has the keys of the schema; those with a default may be left out."""
    needed = {key.name for key in fields(group) if key.default is MISSING and key.default_factory is MISSING}
    assert needed <= set(values) <= {key.name for key in fields(group)}


def test_method(monkeypatch: pytest.MonkeyPatch) -> None:
    method = code("method")["Set"]
    assert method.dynamic and "import torch" not in text("python", "method")
    monkeypatch.setitem(__import__("spfde_exp.sparse.methods", fromlist=["METHODS"]).METHODS, "set", method)
    config = resolve(config_with("method", "sparsity=0.9"))
    assert config.method.p == pytest.approx(0.03)
    schedule = make_plan(config).schedule
    assert set(schedule.trained) == {0.9}
    assert {update.prune_to for update in schedule.updates.values()} == {0.93}


def test_model(monkeypatch: pytest.MonkeyPatch) -> None:
    import spfde_exp.models

    monkeypatch.setitem(spfde_exp.models.BUILDERS, "plain", code("model")["Plain"])
    config = resolve(config_with("model", "freeze=0.15"))
    plan = make_plan(config)
    assert len(plan.freeze.blocks) == 6
    assert plan.prediction()["flops_reduction_freeze"] == pytest.approx(0.15, abs=0.005)
    assert len(plan.prunable) == 6  # every convolution but the first
    logits = spfde_exp.models.build("plain", 1, 10, 1)(torch.zeros(2, 1, 8, 8), frozen=3)
    assert logits.shape == (2, 10)


def test_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    from spfde_exp.data import Batches

    class Fake:
        def __init__(self, root: Path, train: bool, download: bool) -> None:
            count = 20 if train else 10
            self.data = torch.arange(count * 28 * 28).view(count, 28, 28).to(torch.uint8)
            self.targets = torch.arange(count) % 10

    monkeypatch.setattr(torchvision, "FashionMNIST", Fake)
    dataset = code("dataset")["read"](Path("data"))
    values = yaml.safe_load(text("yaml", "dataset"))
    check_keys(values, compose(()).dataset)
    batches = Batches(dataset, 8, values["pad"], values["flip"])
    sizes = [tuple(x.shape) for x, _, _ in batches.epoch(torch.arange(20), torch.Generator())]
    assert sizes == [(8, 1, 28, 28), (8, 1, 28, 28), (4, 1, 28, 28)]


def test_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from spfde_exp.launch import sweepfile

    (tmp_path / "E1.yaml").write_text(text("yaml", "table"))
    with monkeypatch.context() as patch:
        patch.setattr(sweepfile, "folder", lambda _: tmp_path)
        sweep = sweepfile.load_sweep("E1")
    assert len(sweep.runs()) == 27
    definition = code("table")["TABLE"]
    assert definition.id == sweep.id
    first = compose([f"{key}={value}" for key, value in (sweep.base | sweep.cells[0]).items()])
    cells = []
    for cell in sweep.cells:
        freeze = 0.0 if cell["freeze"] == "none" else float(cell["freeze"])
        target = replace(first.freeze, target=freeze)
        sparsity = replace(first.sparsity, target=float(cell["sparsity"]))
        cells.append(flatten(asdict(replace(first, freeze=target, sparsity=sparsity))))
    layout = definition.arrange(cells)
    assert layout.head == ("FLOPs reduction", "None", "10 %", "20 %")
    assert [row[0] for row in layout.rows] == ["sparsity 80 %", "sparsity 90 %", "sparsity 95 %"]
    assert [row[1] for row in layout.rows] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
