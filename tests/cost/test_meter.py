"""The meter counts what runs, by watching the layers."""

import torch
from torch import nn

from spfde_exp.cost.flops import epoch_flops
from spfde_exp.cost.layers import Layer, measure_layers
from spfde_exp.cost.meter import FlopMeter
from spfde_exp.models import build


def small() -> tuple[nn.Module, list[Layer]]:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 3))
    return model, measure_layers(model, (1, 4, 4), [])  # 18 x 16 = 288 and 96 MACs


def test_forward_and_backward_by_hand() -> None:
    model, layers = small()
    with FlopMeter(model, layers) as meter:
        model(torch.randn(5, 1, 4, 4))
        assert meter.flops({}) == 5 * 6 * (288 + 96)
        with torch.no_grad():
            model(torch.randn(2, 1, 4, 4))
        assert meter.flops({}) == (5 * 6 + 2 * 2) * (288 + 96)
        assert meter.flops({"0": 9}) == (5 * 6 + 2 * 2) * (144 + 96)


def test_a_layer_without_autograd_costs_its_forward_pass() -> None:
    model, layers = small()
    with FlopMeter(model, layers) as meter:
        with torch.no_grad():
            hidden = model[0](torch.randn(5, 1, 4, 4))
        model[2](model[1](hidden))
    assert meter.flops({}) == 5 * (2 * 288 + 6 * 96)


def test_nothing_is_counted_outside_and_a_new_context_starts_at_zero() -> None:
    model, layers = small()
    meter = FlopMeter(model, layers)
    with meter:
        model(torch.randn(1, 1, 4, 4))
    once = meter.flops({})
    model(torch.randn(1, 1, 4, 4))
    assert meter.flops({}) == once == 6 * 384
    with meter:
        pass
    assert meter.flops({}) == 0
    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_blocks_agree_with_the_prediction() -> None:
    model = build("resnet14", 0.5, 10, 1)
    layers = measure_layers(model, (1, 8, 8), model.blocks())
    kept = {"stage1.0.conv1": 11, "stage3.1.conv2": 7}
    for frozen in range(7):
        with FlopMeter(model, layers) as meter:
            model(torch.randn(3, 1, 8, 8), frozen=frozen)
            model(torch.randn(2, 1, 8, 8), frozen=frozen)
        assert meter.flops(kept) == epoch_flops(layers, kept, frozen, 5)


def test_what_runs_in_place_of_frozen_layers_is_counted_once() -> None:
    """Folded blocks have layers of their own, of the same names, perhaps of fewer channels."""
    model, layers = small()
    fewer = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
    with FlopMeter(model, layers, fewer) as meter:
        with torch.no_grad():
            fewer(torch.randn(5, 1, 4, 4))
        model[2](torch.randn(5, 32))
    assert meter.flops({}) == 5 * (2 * 288 + 6 * 96)


def test_steps_without_hooks_are_counted_like_the_last_one_with() -> None:
    model, layers = small()
    with FlopMeter(model, layers) as meter:
        with torch.no_grad():
            hidden = model[0](torch.randn(5, 1, 4, 4))
        model[2](model[1](hidden))
        meter.watch(False)
        model(torch.randn(9, 1, 4, 4))  # unseen
        assert not any(module._forward_hooks for module in model.modules())
        meter.repeat(4)
        meter.watch(True)
        model[2](torch.randn(1, 32))
    assert meter.flops({}) == (5 + 4) * (2 * 288 + 6 * 96) + 6 * 96
