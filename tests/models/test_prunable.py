"""Every network holds the papers' sparsities in every masked layer."""

import pytest
from torch import nn

from spfde_exp.config import compose
from spfde_exp.plan import RunPlan, build_model, make_plan
from spfde_exp.schema import Config

OFF = ["freeze=none", "sieve=none", "recipe=cifar10"]
SMALL = ["resnet20", "resnet110", "vgg19", "mobilenet_v2", "resnet18", "resnet34", "resnet50", "resnet50_cifar"]


def planned(*overrides: str) -> tuple[Config, RunPlan]:
    config = compose([*OFF, *overrides])
    return config, make_plan(config)


@pytest.mark.parametrize("name", SMALL)
def test_every_convolution_but_the_first_is_masked(name: str) -> None:
    config, plan = planned(f"model={name}")
    convs = [key for key, module in build_model(config).named_modules() if isinstance(module, nn.Conv2d)]
    assert list(plan.prunable) == convs[1:]


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.95, 0.98])
@pytest.mark.parametrize("name", SMALL)
def test_every_layer_holds_the_sparsity(name: str, sparsity: float) -> None:
    _, plan = planned(f"model={name}", f"sparsity={sparsity}")
    weights = {layer.name: layer.weights for layer in plan.layers}
    for layer, kept in plan.final_kept().items():
        assert kept > 0
        assert 1 - kept / weights[layer] == pytest.approx(sparsity, abs=0.01)
    assert plan.prediction()["sparsity"] == pytest.approx(sparsity, abs=1e-3)


def test_depthwise_convolutions_are_masked_like_others() -> None:
    config, plan = planned("model=mobilenet_v2", "sparsity=0.9")
    depthwise = {k: m for k, m in build_model(config).named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
    assert len(depthwise) == 17
    for name, conv in depthwise.items():
        assert conv.weight.shape[1:] == (1, 3, 3)
        assert plan.final_kept()[name] == round(0.9 * conv.out_channels)  # a tenth of 9 weights for each filter
