"""Sizes against the papers' and hand arithmetic."""

import pytest
import torch
from torch import nn

from spfde_exp.errors import UserError
from spfde_exp.models import NAMES, build
from spfde_exp.models.resnet import ResidualBlock


def params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def residual(model: nn.Module, name: str) -> ResidualBlock:
    block = model.get_submodule(name)
    assert isinstance(block, ResidualBlock)
    return block


@pytest.mark.parametrize(
    ("name", "width", "classes", "expected"),
    [
        ("resnet32", 2, 10, 1_860_522),  # the 1.86 M of both papers
        ("resnet32", 2, 100, 1_872_132),
        ("resnet110", 1, 10, 1_730_714),  # 1.7 M in He et al. 2016, table 6
    ],
)
def test_parameter_counts(name: str, width: float, classes: int, expected: int) -> None:
    assert params(build(name, width, classes, 3)) == expected


@pytest.mark.parametrize(("name", "n"), [("resnet14", 2), ("resnet20", 3), ("resnet56", 9)])
@pytest.mark.parametrize("width", [0.5, 1, 1.5])
def test_parameters_by_formula(name: str, n: int, width: float) -> None:
    a, b, c = int(16 * width), int(32 * width), int(64 * width)
    stem = 9 * 1 * a + 2 * a
    stages = sum(9 * before * after + 2 * after for before, after in [(a, a), (a, b), (b, c)])
    stages += sum((2 * n - 1) * (9 * k * k + 2 * k) for k in (a, b, c))
    shortcuts = a * b + 2 * b + b * c + 2 * c
    assert params(build(name, width, 10, 1)) == stem + stages + shortcuts + 10 * c + 10


def test_conv_macs_of_the_papers_resnet32() -> None:
    model = build("resnet32", 2, 100, 3)
    macs: dict[str, int] = {}

    def count(name: str, conv: nn.Conv2d, output: torch.Tensor) -> None:
        macs[name] = conv.weight.numel() * output.shape[2] * output.shape[3]

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, _, out, name=name: count(name, m, out))
    logits = model(torch.zeros(1, 3, 32, 32))
    assert logits.shape == (1, 100)
    assert sum(macs.values()) == 275_611_648
    assert macs["stem.conv"] == 3 * 32 * 9 * 32 * 32
    # Thirty 3x3 convolutions are what the released profiles sparsify, two 1x1 are the shortcuts.
    kernels = [m.kernel_size for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and n != "stem.conv"]
    assert kernels.count((3, 3)) == 30
    assert kernels.count((1, 1)) == 2


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = build("resnet32", 2, 100, 3)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            standard_error = (2 / fan_out) ** 0.5 / (2 * module.weight.numel()) ** 0.5
            assert abs(module.weight.std().item() - (2 / fan_out) ** 0.5) < 5 * standard_error, name
            assert module.bias is None
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.all(module.weight == 1) and torch.all(module.bias == 0)
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert torch.all(model.classifier.bias == 0)


def test_same_seed_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build("resnet14", 0.5, 10, 1).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_residual_block_by_hand() -> None:
    # With bn2's scale at 0, a block is the ReLU of its shortcut; without a shortcut, of its input.
    model = build("resnet14", 0.5, 10, 1)
    x = torch.randn(2, 8, 8, 8)
    block = residual(model, "stage1.1")
    nn.init.zeros_(block.bn2.weight)
    torch.testing.assert_close(block(x.clone()), x.clamp(min=0))
    block = residual(model, "stage2.0").eval()
    nn.init.zeros_(block.bn2.weight)
    projection = block.get_parameter("shortcut.conv.weight")[:, :, 0, 0]
    expected = torch.einsum("oi,bihw->bohw", projection, x[:, :, ::2, ::2])
    torch.testing.assert_close(block(x), (expected / (1 + 1e-5) ** 0.5).clamp(min=0))


def test_unknown_name_lists_the_allowed() -> None:
    with pytest.raises(UserError) as caught:
        build("resnet33", 1, 10, 3)
    assert "resnet33" in str(caught.value)
    assert all(name in str(caught.value) for name in NAMES)


def test_width_without_channels_is_refused() -> None:
    assert build("resnet14", 1 / 32, 10, 1).get_parameter("stem.conv.weight").shape == (1, 1, 3, 3)
    with pytest.raises(UserError, match="model.width"):
        build("resnet14", 0.03, 10, 1)
