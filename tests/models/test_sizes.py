"""Parameters and multiply-accumulates against hand formulas, torchvision's documentation and the papers."""

import pytest
import torch
from torch import nn

from spfde_exp.cost.layers import measure_layers
from spfde_exp.errors import UserError
from spfde_exp.models import build
from spfde_exp.models.base import widened


def params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def macs(name: str, size: int, classes: int, width: float = 1) -> int:
    model = build(name, width, classes, 3)
    return sum(layer.macs for layer in measure_layers(model, (3, size, size), model.blocks()))


# -- VGG-19


def test_vgg19_by_formula() -> None:
    channels = [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    convolutions = sum(9 * a * b for a, b in zip([3, *channels], channels, strict=False))
    assert convolutions == 20_018_880
    assert params(build("vgg19", 1, 10, 3)) == convolutions + 2 * sum(channels) + 512 * 10 + 10 == 20_035_018
    # MEST appendix J: 4964 MB = (weights + 64 gradients per example) of 4 bytes, of the convolutions.
    assert round(65 * convolutions * 4 / 2**20) == 4964


def test_vgg19_macs_by_formula() -> None:
    stages = [(3, 64, 2, 32), (64, 128, 2, 16), (128, 256, 4, 8), (256, 512, 4, 4), (512, 512, 4, 2)]
    by_hand = sum(9 * (a * b + (n - 1) * b * b) * side**2 for a, b, n, side in stages)
    assert macs("vgg19", 32, 10) == by_hand + 5120 == 398_136_320


def test_vgg19_pools_four_times() -> None:
    model = build("vgg19", 0.25, 10, 3).eval()
    pools = [m for m in model.modules() if isinstance(m, nn.MaxPool2d)]
    assert len(pools) == 4
    # On even sides the last, partial window is none: the same as without ceil_mode.
    x = torch.randn(1, 3, 32, 32)
    rounded = model(x)
    for pool in pools:
        pool.ceil_mode = False
    assert torch.equal(model(x), rounded)


# -- MobileNet-V2


def test_mobilenet_by_formula() -> None:
    # Table 2 of the paper: expansion, channels, blocks; shortcuts with a convolution are kuangliu's.
    rows = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    total, before, convolutions = 9 * 3 * 32 + 2 * 32, 32, 1
    for t, c, n in rows:
        for index in range(n):
            hidden = t * before
            total += before * hidden + 9 * hidden + hidden * c + 2 * (2 * hidden + c)
            convolutions += 3
            stride = 2 if index == 0 and c in (32, 64, 160) else 1
            if stride == 1 and before != c:
                total += before * c + 2 * c
                convolutions += 1
            before = c
    total += 320 * 1280 + 2 * 1280 + 1280 * 10 + 10
    model = build("mobilenet_v2", 1, 10, 3)
    assert params(model) == total == 2_296_922  # MEST Table I.2 prints 2.30 M
    assert convolutions + 1 == 57  # "57 CONV layers" (MEST appendix I)
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 57


def test_mobilenet_maps() -> None:
    model = build("mobilenet_v2", 0.25, 10, 3).eval()
    sides: list[int] = []
    for name, module in model.named_modules():
        if name.endswith("depthwise"):
            module.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    model(torch.zeros(1, 3, 32, 32))
    assert sides == [32] * 3 + [16] * 3 + [8] * 7 + [4] * 4


def test_mobilenet_macs() -> None:
    assert macs("mobilenet_v2", 32, 10) == 91_154_944


# -- torchvision's


@pytest.mark.parametrize(
    ("name", "count", "gmacs"),
    [("resnet18", 11_689_512, 1.81), ("resnet34", 21_797_672, 3.66), ("resnet50", 25_557_032, 4.09)],
)
def test_torchvisions_documented_sizes(name: str, count: int, gmacs: float) -> None:
    assert params(build(name, 1, 1000, 3)) == count
    assert macs(name, 224, 1000) / 1e9 == pytest.approx(gmacs, abs=0.005)


def test_resnet50_costs_the_printed_flops() -> None:
    # MEST Table 2: 8.2e9 for one image, 4.8e18 for 150 epochs; 3.2e18 is RigL's for 100.
    one = 2 * macs("resnet50", 224, 1000)
    assert round(one / 1e9, 1) == 8.2
    assert 3 * one * 1_281_167 * 150 / 1e18 == pytest.approx(4.8, abs=0.1)


def test_resnet50_for_small_images() -> None:
    cifar, imagenet = build("resnet50_cifar", 1, 10, 3), build("resnet50", 1, 10, 3)
    assert params(imagenet) - params(cifar) == (49 - 9) * 3 * 64
    assert params(cifar) == 23_520_842
    # MEST Table K.1: with 90 % of the 3x3 convolutions zero, "44 %" of the network is; over half the weights are 1x1.
    sizes = {3: 0, 1: 0}
    for module in cifar.modules():
        if isinstance(module, nn.Conv2d):
            sizes[module.kernel_size[0]] += module.weight.numel()
    assert sizes[1] > sizes[3]
    assert 0.9 * sizes[3] / sum(sizes.values()) == pytest.approx(0.44, abs=0.006)


# -- width


def test_channels_are_rounded_half_up() -> None:
    assert widened((16, 24, 1280), 0.4375) == [7, 11, 560]
    assert widened((16, 24), 1) == [16, 24]


@pytest.mark.parametrize(("name", "least"), [("vgg19", 1 / 128), ("mobilenet_v2", 1 / 32), ("resnet20", 1 / 32)])
def test_width_without_channels_is_refused(name: str, least: float) -> None:
    build(name, least, 10, 3)
    with pytest.raises(UserError, match=rf"at least 1/{round(1 / least)}$"):
        build(name, least * 0.99, 10, 3)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet50_cifar"])
def test_torchvisions_networks_have_one_width(name: str) -> None:
    with pytest.raises(UserError, match=r"model.width=2 is impossible: torchvision's ResNet-\d\d has width 1 only"):
        build(name, 2, 10, 3)
