"""Runs under every scheme: bit for bit through an interruption, and refused in one line where they cannot work."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spfde_exp import run as run_module
from spfde_exp.config import compose, identity, signature
from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import load_sweep
from spfde_exp.plan import make_plan
from spfde_exp.sparse.distribution import Distribution
from spfde_exp.store import RunFolder

SCHEMES = ("unstructured", "filter", "channel", "block", "pattern", "hybrid")
RUN = [
    "debug=tiny", "threads=1", "logger=none", "model.width=0.5", "sparsity=0.75", "dataset.subset=64",
    "dataset.test_subset=32",
]  # fmt: skip
SETTINGS = {
    "unstructured": ["sparsity.distribution=erk"],
    "filter": ["sparsity.tolerance=0.125"],
    "channel": ["sparsity.tolerance=0.125"],
    "block": ["sparsity.block=[2,2]"],
    "pattern": ["sparsity.prunable=block_3x3"],
    "hybrid": ["sparsity.distribution=explicit", "sparsity.explicit={3x3:0.75,1x1:0.625}"],
}


@pytest.mark.parametrize(("scheme", "name"), [(scheme, name) for scheme in SCHEMES for name in ("mest_em", "mest_ems")])
def test_a_run_ends_at_its_target_and_goes_on_bit_for_bit(
    scheme: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*RUN, f"method={name}", f"sparsity.scheme={scheme}", *SETTINGS[scheme]]

    config = compose(overrides)

    def train(folder: str) -> RunFolder:
        run_module.train(replace(config, runs_dir=str(tmp_path / folder)), overrides)
        return RunFolder(tmp_path / folder / signature(config))

    whole = train("whole")
    saves = run_module.save_checkpoint

    def stop(folder: RunFolder, state: dict[str, Any]) -> None:
        saves(folder, state)
        if state["epoch"] == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "save_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        train("stopped")
    monkeypatch.setattr(run_module, "save_checkpoint", saves)
    resumed = train("stopped")
    one, other = (torch.load(folder.file("model.pt"), weights_only=True) for folder in (whole, resumed))
    for part in ("model", "masks"):
        assert all(torch.equal(one[part][key], other[part][key]) for key in one[part])
    kept = json.loads(whole.file("plan.json").read_text())["sparsity"]["layers"]
    assert {layer: int(mask.sum()) for layer, mask in one["masks"].items()} == kept
    assert not any(one["model"][f"{layer}.weight"][~mask].any() for layer, mask in one["masks"].items())
    summary = whole.summary()
    assert summary is not None
    assert summary["sparsity"] == pytest.approx(0.75, abs=0.05)
    assert summary["train_flops"] == pytest.approx(whole.json("plan")["prediction"]["train_flops"])  # type: ignore[index]


FIVE = """
from torch import nn


def net(num_classes, in_channels):
    convs = [nn.Conv2d(in_channels, 8, 5, padding=2), nn.Conv2d(8, 8, 5, padding=2), nn.Conv2d(8, 8, 1)]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""
REFUSED = {
    "pattern without 3x3 kernels": (
        ["model=custom", "model.target=five.net", "model.allow=[five]", "sparsity.scheme=pattern"],
        "sparsity.scheme=pattern needs 3x3 kernels, and no prunable layer of this model has any; choose "
        "sparsity.scheme=block, channel, filter or unstructured",
    ),
    "pattern on 1x1 shortcuts": (
        ["sparsity.scheme=pattern"],
        "sparsity.scheme=pattern needs 3x3 kernels, and layer stage2.0.shortcut.conv is 1x1; leave such layers dense "
        "with sparsity.prunable=block_3x3, or choose sparsity.scheme=hybrid",
    ),
    "RigL by blocks": (
        ["method=rigl", "sparsity.scheme=block"],
        "method=rigl chooses single weights, so sparsity.scheme=block is impossible; allowed: unstructured, or one of "
        "the methods static, mest, mest_em, mest_ems",
    ),
    "finer than 8 channels": (
        ["sparsity=0.95", "sparsity.scheme=channel"],
        "sparsity=0.95 cannot be met by layer stage1.0.conv1: of its 8 channels 0 would stay; choose a lower sparsity, "
        "a finer sparsity.scheme or a wider model",
    ),
    "coarser than a point": (
        ["sparsity.scheme=filter"],
        "of its 8 filters 1 would stay, 2.50 points off; choose another sparsity, a finer sparsity.scheme or a wider "
        "model, or accept it with sparsity.tolerance=0.025",
    ),
    "block that does not divide": (
        ["sparsity.scheme=block", "sparsity.block=[16,1]"],
        "sparsity.block=[16,1] does not divide layer stage1.0.conv1 of 8 x 72 weights",
    ),
    "denser than patterns are": (
        ["sparsity=0.4", "sparsity.scheme=pattern", "sparsity.prunable=block_3x3"],
        "64 would stay, and 55.56% of it is zero even so; choose a higher sparsity or another sparsity.scheme",
    ),
    "no parts": (
        ["sparsity.distribution=explicit"],
        "sparsity.explicit says nothing of layer stage1.0.conv1, of kernel size 3x3; set it for every kernel size of "
        "the prunable layers: sparsity.explicit={3x3:0.9,1x1:0.9}",
    ),
    "parts that miss the target": (
        ["sparsity.distribution=explicit", "sparsity.explicit={3x3:0.95,1x1:0.85}"],
        "sparsity.distribution=explicit makes 94.85% of the prunable weights zero, and sparsity=0.9 was asked for; set "
        "sparsity=0.95, or change the parts",
    ),
    "a part that is no share": (
        ["sparsity.distribution=explicit", "sparsity.explicit={3x3:1.5}"],
        "sparsity.explicit={'3x3': 1.5} is impossible; allowed: a sparsity from 0 below 1 for each kernel size",
    ),
}  # fmt: skip
ON_THE_COMMAND_LINE = ["pattern without 3x3 kernels", "RigL by blocks", "finer than 8 channels"]  # issue 4, part 7


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE)
def test_refused_in_one_line_before_anything_is_written(case: str, tmp_path: Path, run_cli: Any) -> None:
    (tmp_path / "five.py").write_text(FIVE)
    overrides, message = REFUSED[case]
    answer = run_cli(*overrides, "debug=tiny", cwd=tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: ") and message in answer.stderr and answer.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["method=mest_em,rigl", "sparsity.scheme=block"], "method=rigl chooses single weights"),
        (["sparsity.scheme=block,channel"], "of its 8 channels 1 would stay, 2.50 points off"),
    ],
)
def test_one_impossible_cell_stops_a_sweep_before_it_starts(
    grid: list[str], message: str, tmp_path: Path, run_cli: Any
) -> None:
    answer = run_cli("-m", *grid, "debug=tiny", cwd=tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: ") and message in answer.stderr and answer.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("case", [case for case in REFUSED if case not in ON_THE_COMMAND_LINE])
def test_refused_by_the_plan(case: str) -> None:
    overrides, message = REFUSED[case]
    with pytest.raises(UserError) as error:
        make_plan(compose(overrides))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["MF5a", "MF5b", "MFH1"])
def test_the_channel_cells_of_the_tables_can_be_planned(name: str) -> None:
    """Whole channels of 32 miss 20, 30, 70, 80, 95 and 98 % by more than a point: the sweeps say that it may be."""
    cells = [cell for cell in load_sweep(name).cells if cell.get("sparsity.scheme") == "channel"]
    base = load_sweep(name).base
    assert {cell["sparsity.tolerance"] for cell in cells} == {"0.0125"} and len(cells) >= 11
    config = compose([f"{key}={value}" for key, value in (base | cells[0]).items()])
    units = make_plan(config).distribution.layouts
    for cell in cells:
        Distribution(units, float(cell["sparsity"])).check(0.0125)


# -- identity


def test_the_tolerance_decides_whether_and_not_what() -> None:
    coarse = ["sparsity.scheme=channel", "sparsity=0.9"]
    assert signature(compose([*coarse, "sparsity.tolerance=0.1"])) == signature(compose(coarse))
    make_plan(compose([*coarse, "sparsity.tolerance=0.025"]))
    with pytest.raises(UserError, match="points off"):  # though the same run was planned a moment ago
        make_plan(compose(coarse))


def test_parts_enter_the_identity_however_they_are_ordered() -> None:
    explicit = "sparsity.distribution=explicit"
    one = compose([explicit, "sparsity.explicit={3x3:0.9,1x1:0}"])
    assert identity(one)["sparsity.explicit.3x3"] == 0.9
    assert signature(one) == signature(compose([explicit, "sparsity.explicit={1x1:0.0,3x3:0.90}"]))
    assert signature(one) != signature(compose([explicit, "sparsity.explicit={3x3:0.9,1x1:0.1}"]))
    assert signature(compose(["sparsity.explicit={3x3:0.5}"])) == signature(compose([]))  # nobody reads it


def test_what_is_the_same_has_one_name() -> None:
    def named(*overrides: str) -> str:
        return signature(compose([f"sparsity.{override}" for override in overrides]))

    assert named("scheme=hybrid", "prunable=block_3x3") == named("scheme=pattern", "prunable=block_3x3")
    assert named("scheme=channel", "block=[2,2]") == named("scheme=channel")
    assert named("scheme=block", "block=[2,2]") != named("scheme=block") == named("scheme=block", "block=[4,1]")
