"""torchvision's ResNets, run block by block; and the freezing plan of SpFDE Table A5 with the real ResNet-50."""

from collections.abc import Sequence

import pytest
import torch
import torchvision.models

from spfde_exp.cost.flops import block_shares
from spfde_exp.cost.layers import measure_layers
from spfde_exp.freeze.solver import FreezeProblem, single_shot
from spfde_exp.models import build


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_it_is_torchvisions(name: str) -> None:
    ours, theirs = build(name, 1, 10, 3).eval(), torchvision.models.get_model(name, num_classes=10).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours(x, 5), theirs(x))


def test_same_seed_same_weights_as_torchvision() -> None:
    states = []
    for make in (lambda: build("resnet18", 1, 10, 3), lambda: torchvision.models.resnet18(num_classes=10)):
        torch.manual_seed(0)
        states.append(make().state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_small_images_are_not_reduced_at_once() -> None:
    model = build("resnet50_cifar", 1, 10, 3).eval()
    sides: list[int] = []
    for name, _ in model.blocks():
        model.get_submodule(name).register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    model(torch.zeros(1, 3, 32, 32))
    assert sides == [32] * 3 + [16] * 4 + [8] * 6 + [4] * 3


@pytest.fixture(scope="module")
def shares() -> list[float]:
    model = build("resnet50", 1, 1000, 3)
    return block_shares(measure_layers(model, (3, 224, 224), model.blocks()), 16)


def problem(shares: Sequence[float], density: Sequence[float] | None = None) -> FreezeProblem:
    return FreezeProblem("resnet50", [f"block{index}" for index in range(16)], shares, 150, 2, density)


@pytest.mark.parametrize(
    ("target", "first", "blocks"), [(0.075, 90, 5), (0.10, 80, 6), (0.15, 60, 7), (0.20, 50, 8), (0.22, 50, 8)]
)
def test_table_a5(shares: list[float], target: float, first: int, blocks: int) -> None:
    plan = single_shot(problem(shares), target, None, 13 / 15)
    assert (plan.frozen.index(1), plan.frozen[-1]) == (first, blocks)
    assert plan.reduction() == pytest.approx(target, abs=3e-4)


def test_what_eight_blocks_from_epoch_50_save(shares: list[float]) -> None:
    eight = range(50, 50 + 8 * 2, 2)
    assert 100 * problem(shares).reduction(eight) == pytest.approx(22.10, abs=0.005)
    # By hand: two thirds of each block's share, for the epochs that are left.
    assert sum(2 / 3 * s * (150 - e) / 150 for s, e in zip(shares, eight, strict=False)) == pytest.approx(
        0.2210, abs=5e-5
    )
