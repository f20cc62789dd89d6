"""Mean gradient norms of a small net, against autograd step by step."""

import pytest
import torch
from torch import nn

from spfde_exp.cost.layers import measure_layers
from spfde_exp.hooks.gradient_norms import GradientNorms
from spfde_exp.sparse.masks import Masks


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    return nn.Sequential(first, nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()), nn.Flatten(), nn.Linear(4 * 16, 3))


BLOCKS = [("0", ["0"]), ("1", ["1"])]


def step(net: nn.Module, sgd: torch.optim.SGD, seed: int) -> dict[str, torch.Tensor]:
    """One step; gradients of the weights as autograd has them, before anything is masked."""
    x = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    sgd.zero_grad()
    net(x).square().mean().backward()
    gradients = {n: net.get_submodule(n).weight.grad for n in ("0.0", "0.3", "1.0", "3")}
    copies = {n: g.clone() for n, g in gradients.items() if g is not None}
    sgd.step()
    return copies


def test_against_autograd(net: nn.Sequential) -> None:
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    masks = Masks({"0.3": net[0][3].weight}, 0.5)
    masks.init_random(0.5, torch.Generator().manual_seed(0))
    masks.attach(sgd)
    watch = GradientNorms(net, measure_layers(net, (1, 6, 6), BLOCKS), ["0", "1"], sgd)
    seen = [step(net, sgd, seed) for seed in range(3)]
    for gradients in seen:
        gradients["0.3"] *= masks.kept["0.3"]
    told = watch.take()
    for name in ("0.0", "0.3", "1.0", "3"):
        assert told["layers"][name] == pytest.approx(sum(float(g[name].norm()) for g in seen) / 3, rel=1e-6)
    joint = [torch.cat([g["0.0"].flatten(), g["0.3"].flatten()]).norm() for g in seen]
    assert told["blocks"] == {
        "0": pytest.approx(float(sum(joint)) / 3, rel=1e-6),
        "1": pytest.approx(told["layers"]["1.0"]),
    }


def test_an_epoch_starts_anew_and_leaves_out_what_is_frozen(net: nn.Sequential) -> None:
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    watch = GradientNorms(net, measure_layers(net, (1, 6, 6), BLOCKS), ["0", "1"], sgd)
    step(net, sgd, 0)
    watch.take()
    net[0].requires_grad_(False)
    last = step(net, sgd, 1)
    told = watch.take()
    assert (list(told["layers"]), list(told["blocks"])) == (["1.0", "3"], ["1"])
    assert told["layers"]["3"] == pytest.approx(float(last["3"].norm()), rel=1e-6)


def test_without_a_step_there_is_nothing_to_tell(net: nn.Sequential) -> None:
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    watch = GradientNorms(net, measure_layers(net, (1, 6, 6), BLOCKS), ["0", "1"], sgd)
    assert watch.take() == {"layers": {}, "blocks": {}}
