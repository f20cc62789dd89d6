"""The table of docs/models.md is what the networks are."""

import re
from pathlib import Path

import pytest

from spfde_exp.cost.layers import measure_layers
from spfde_exp.models import NAMES, build
from spfde_exp.models.custom import build_custom, find_callable

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| (\d+) \| ([\d,]+) \| ([\d,.]+) \|", PAGE, re.MULTILINE)
IMAGES = {
    "resnet14": (1, 8, 10),
    "resnet50_cifar": (3, 32, 100),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50"), (3, 224, 1000)),
}


def test_every_network_has_a_row() -> None:
    assert {row[0] for row in ROWS} == set(NAMES) and len(ROWS) == len(NAMES)


@pytest.mark.parametrize(("name", "width", "blocks", "params", "macs"), ROWS)
def test_row(name: str, width: str, blocks: str, params: str, macs: str) -> None:
    channels, size, classes = IMAGES.get(name, (3, 32, 10))
    model = build(name, float(width), classes, channels)
    layers = measure_layers(model, (channels, size, size), model.blocks())
    assert len(model.blocks()) == int(blocks)
    assert f"{sum(p.numel() for p in model.parameters()):,}" == params
    assert f"{sum(layer.macs for layer in layers) / 1e6:,.2f}" == macs


@pytest.mark.parametrize(
    ("name", "width", "printed", "ours", "ratio"),
    [("resnet32", 2, 6.38, 6.61, 0.965), ("mobilenet_v2", 1, 2.11, 2.19, 0.964), ("resnet110", 1, 5.74, 6.08, 0.945)],
)
def test_printed_training_flops(name: str, width: float, printed: float, ours: float, ratio: float) -> None:
    model = build(name, width, 10, 3)
    total = 3 * sum(layer.macs for layer in measure_layers(model, (3, 32, 32), [])) * 50_000 * 160 / 1e15
    assert (round(total, 2), round(printed / total, 3)) == (ours, ratio)
    assert f"| {ours:.2f}e15 | {printed} | {ratio} |" in PAGE


@pytest.mark.parametrize(("name", "blocks"), [("squeezenet1_1", 8), ("densenet121", 61), ("resnet18", 8)])
def test_blocks_of_torchvisions_networks(name: str, blocks: int) -> None:
    make = find_callable(f"torchvision.models.{name}", ["torchvision.models"])
    assert len(build_custom(make, {}, "auto", 10, (3, 32, 32)).blocks()) == blocks
