"""FLOPs against torch's own counter, and against the papers' arithmetic."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spfde_exp.cost.flops import (
    block_shares,
    dense_training_flops,
    epoch_flops,
    forward_flops,
    paper_training_flops,
)
from spfde_exp.cost.layers import Layer, measure_layers
from spfde_exp.models import build

BATCH = 3


@pytest.fixture(scope="module")
def net() -> tuple[nn.Module, list[Layer]]:
    model = build("resnet14", 0.5, 10, 1)
    return model, measure_layers(model, (1, 8, 8), model.blocks())


def counted(model: nn.Module, frozen: int, backward: bool) -> int:
    with FlopCounterMode(display=False) as counter:
        logits = model(torch.randn(BATCH, 1, 8, 8), frozen=frozen)
        if backward:
            logits.sum().backward()
    return int(counter.get_total_flops())


def test_inference_agrees_with_torch(net: tuple[nn.Module, list[Layer]]) -> None:
    model, layers = net
    assert counted(model, 0, backward=False) == BATCH * forward_flops(layers, {})


@pytest.mark.parametrize("frozen", [0, 1, 3, 6])
def test_training_agrees_with_torch(net: tuple[nn.Module, list[Layer]], frozen: int) -> None:
    """Torch skips the input gradient of the first trained layer; the papers' 2 x forward does not."""
    model, layers = net
    first = {
        0: ["stem.conv"],
        1: ["stage1.1.conv1"],
        3: ["stage2.1.conv1"],
        6: ["classifier"],
    }[frozen]
    skipped = sum(2 * layer.macs for layer in layers if layer.name in first)
    assert counted(model, frozen, backward=True) == epoch_flops(layers, {}, frozen, BATCH) - BATCH * skipped


A = Layer("a", 0, weights=72, positions=9, outputs=36)
B = Layer("b", 1, weights=100, positions=4, outputs=40)
C = Layer("c", None, weights=180, positions=1, outputs=5)


def test_by_hand() -> None:
    layers, kept = [A, B, C], {"b": 10}
    assert forward_flops(layers, kept) == 2 * (648 + 40 + 180)
    assert epoch_flops(layers, kept, 0, 7) == 7 * 6 * (648 + 40 + 180)
    assert epoch_flops(layers, kept, 1, 7) == 7 * (2 * 648 + 6 * (40 + 180))
    assert epoch_flops(layers, kept, 2, 7) == 7 * (2 * (648 + 40) + 6 * 180)  # the classifier is never frozen
    assert dense_training_flops(layers, 7, 5) == 35 * 6 * (648 + 400 + 180)


def test_block_shares() -> None:
    assert block_shares([A, B, C], 2) == pytest.approx([648 / 1228, 400 / 1228])
    second_of_b = Layer("d", 1, weights=10, positions=1, outputs=1)
    assert block_shares([A, B, C, second_of_b], 3) == pytest.approx([648 / 1238, 410 / 1238, 0])


@pytest.mark.parametrize(
    ("density", "freeze", "sieve", "printed"),
    [
        (0.10, 0.0, 0.0, 1.32),
        (0.05, 0.0, 0.0, 0.66),
        (0.02, 0.0, 0.0, 0.26),
        (0.1328125, 0.10, 0.10, 1.42),
        (0.1328125, 0.15, 0.15, 1.27),
        (0.1328125, 0.20, 0.20, 1.12),
    ],
)
def test_the_papers_figure(density: float, freeze: float, sieve: float, printed: float) -> None:
    dense = 6 * (275_611_648 + 12_800) * 50_000 * 160
    assert round(paper_training_flops(dense, density, freeze, sieve) / 1e15, 2) == printed
