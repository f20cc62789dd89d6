"""Folding batch norm: the network at rest, computed as the unfolded one in double precision."""

import copy

import pytest
import torch
from torch import Tensor, nn

from spfde_exp.inference.fold import folded
from spfde_exp.models.base import BlockModel
from spfde_exp.models.custom import CustomModel
from spfde_exp.models.imagenet import TorchvisionResNet
from spfde_exp.models.mobilenet import MobileNetV2
from spfde_exp.models.resnet import ResNet
from spfde_exp.models.vgg import Vgg19

MODELS = {
    "resnet": lambda: ResNet(14, 0.5, 10, 3),
    "vgg": lambda: Vgg19(0.125, 10, 3),
    "mobilenet": lambda: MobileNetV2(0.25, 10, 3),
    "torchvision": lambda: TorchvisionResNet(18, 10, 3, small=True),
}


def lived(model: BlockModel) -> BlockModel:
    """`model` with batch norms that have seen something."""
    draw = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5), (module.bias.data, -0.3, 0.3),
            ):  # fmt: skip
                assert tensor is not None
                tensor.uniform_(low, high, generator=draw)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_same_outputs_without_batch_norm(name: str) -> None:
    torch.manual_seed(0)
    model = lived(MODELS[name]())
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(3, 3, 16, 16)
    exact = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for blocks in (1, len(model.blocks()), None):
            module = folded(model, blocks)
            expected = exact(x.double()) if blocks is None else exact.leading(x.double(), blocks)
            torch.testing.assert_close(module(x).double(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
            assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
            assert not any(parameter.requires_grad for parameter in module.parameters())
    assert model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), f"folding changed {key}"


def test_layers_keep_their_names() -> None:
    model = ResNet(8, 0.5, 10, 3)
    convolutions = {f"net.{name}" for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}
    found = {name for name, part in folded(model).named_modules() if isinstance(part, nn.Conv2d)}
    assert found == convolutions
    first = {name for name, part in folded(model, 1).named_modules() if isinstance(part, nn.Conv2d)}
    assert first == {"net.stem.conv", "net.stage1.0.conv1", "net.stage1.0.conv2"}


def test_later_training_leaves_it_as_it_is() -> None:
    model = lived(ResNet(8, 0.5, 10, 3))
    x = torch.randn(2, 3, 8, 8)
    module = folded(model, 2)
    before = module(x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(module(x), before)


class Branching(nn.Module):
    """Control flow that depends on data."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.last((y if y.mean() > 0 else -y).mean((2, 3)))


def test_own_models_fold_and_stay_as_they_are() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    model = CustomModel(net, [("all", ["0", "1"])])
    x = torch.randn(2, 3, 6, 6)
    model(x, frozen=1)
    needs = [parameter.requires_grad for parameter in model.parameters()]
    module = folded(model)
    assert [parameter.requires_grad for parameter in model.parameters()] == needs
    assert {name for name, part in module.named_modules() if isinstance(part, nn.Conv2d)} == {"net.net.0"}
    torch.testing.assert_close(module(x), model.eval()(x, frozen=1))


def test_what_cannot_be_folded_is_an_error() -> None:
    model = CustomModel(Branching(), [("all", ["conv"])])
    with pytest.raises(ValueError, match="CustomModel cannot be traced"):
        folded(model)
    with pytest.raises(ValueError, match="cannot run alone"):
        folded(model, 1)
