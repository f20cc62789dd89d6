"""Blocks of networks that know nothing of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spfde_exp.cost.layers import run_example
from spfde_exp.errors import UserError
from spfde_exp.models.custom import CustomModel
from spfde_exp.models.find_blocks import find_blocks, given_blocks

SHAPE = (3, 6, 6)


def conv(inputs: int = 4, outputs: int = 4) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def layered(inputs: int = 4) -> nn.Module:
    return nn.Sequential(conv(inputs), nn.BatchNorm2d(4), nn.ReLU())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv(), conv()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.one(x).relu())


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Net(nn.Module):
    """Stem, stages, linear layer, as most networks are written; keyword arguments add or replace parts."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3), nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Residual(), Residual())
        self.layer2 = nn.ModuleList([Residual(), Residual()])
        self.fc = nn.Linear(4, 10)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(self.bn1(self.conv1(x)))
        for block in self.layer2:
            x = block(x)
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


def runner(net: nn.Module) -> Callable[[], Tensor]:
    return lambda: run_example(net, SHAPE)


def found(net: nn.Module) -> list[tuple[str, list[str]]]:
    return find_blocks(net, runner(net))


def message(net: nn.Module, *blocks: list[str]) -> str:
    with pytest.raises(UserError) as error:
        _ = given_blocks(net, blocks, runner(net)) if blocks else found(net)
    assert "\n" not in str(error.value)
    return str(error.value)


# -- found


def test_stages_are_opened_and_the_stem_joins_the_first_block() -> None:
    assert found(Net()) == [
        ("layer1.0", ["conv1", "bn1", "layer1.0"]),
        ("layer1.1", ["layer1.1"]),
        ("layer2.0", ["layer2.0"]),
        ("layer2.1", ["layer2.1"]),
    ]


def test_a_chain_of_layers_has_a_block_for_each_layer_with_weights() -> None:
    net = nn.Sequential(
        nn.BatchNorm2d(3), conv(3), nn.BatchNorm2d(4), nn.ReLU(), conv(), nn.ReLU(), nn.MaxPool2d(2), conv(), Pooled(),
        nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 10), nn.BatchNorm1d(10),
    )  # fmt: skip
    assert found(net) == [("1", ["0", "1", "2"]), ("4", ["4"]), ("7", ["7"]), ("9", ["9", "10"])]


def test_a_sequence_with_one_layer_stays_together() -> None:
    assert found(nn.Sequential(layered(3), nn.Sequential(layered(), layered()), Pooled(), nn.Linear(4, 10))) == [
        ("0", ["0"]),
        ("1.0", ["1.0"]),
        ("1.1", ["1.1"]),
    ]


def test_order_of_execution_not_of_definition() -> None:
    net = Net()
    net._modules = {name: net._modules[name] for name in ("fc", "layer2", "layer1", "conv1", "bn1")}
    assert [name for name, _ in found(net)] == ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]


def test_a_wrapped_network_is_opened() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.backbone = Net(fc=nn.Identity())
            self.head = nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.backbone(x * self.scale))  # type: ignore[no-any-return]

    net = Wrapper()
    net.backbone.register_parameter("shift", nn.Parameter(torch.zeros(())))
    first, *rest = found(net)
    members = ["scale", "backbone.shift", "backbone.conv1", "backbone.bn1", "backbone.layer1.0"]
    assert first == ("backbone.layer1.0", members)
    assert [name for name, _ in rest] == ["backbone.layer1.1", "backbone.layer2.0", "backbone.layer2.1"]


def test_what_never_runs_is_in_no_block() -> None:
    assert len(found(Net(unused=Residual()))) == 4


def test_one_layer_is_no_network() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 10))
    assert "fewer than two blocks" in message(net)


def test_a_module_used_twice_is_refused() -> None:
    net = Net()
    net.layer2[1] = net.layer1[0]  # type: ignore[index]
    assert "'layer1.0.one' of block layer1.0 runs after 'layer2.0.two' of block layer2.0" in message(net)


# -- given


def test_given_blocks_are_named_by_their_last_module_with_weights() -> None:
    net = Net()
    blocks = given_blocks(net, [["conv1", "bn1"], ["layer1"], ["layer2.0", "layer2.1"]], runner(net))
    assert [name for name, _ in blocks] == ["conv1", "layer1", "layer2.1"]


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ([["conv1", "bn1"], ["layer9"]], "names 'layer9', which the model does not have; it has conv1, bn1, layer1"),
        ([["conv1", "bn1", "layer1"], ["layer1.1"]], "names a parameter twice: 'layer1' and 'layer1.1'"),
        ([["layer1.0"], ["layer1.1"]], "runs after 'bn1', which is in no block; add that"),
        (
            [["conv1", "bn1", "layer2"], ["layer1"]],
            "'layer2.0.one' of block layer2 runs after 'layer1.1.two' of block layer1;",
        ),
        ([["conv1", "bn1", "layer1"], ["layer2"], ["fc"]], "must leave the classifier out"),
        ([["conv1", "bn1", "layer1"], ["more"]], "block more of the model runs no layer that has parameters"),
    ],
)
def test_impossible_blocks(blocks: list[list[str]], said: str) -> None:
    assert said in message(Net(more=Residual()), *blocks)


def test_a_parameter_before_the_blocks_must_be_in_one() -> None:
    class Shifted(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + self.shift)  # type: ignore[operator]

    net = Shifted(shift=nn.Parameter(torch.zeros(3, 1, 1)))
    blocks = [["conv1", "bn1", "layer1"], ["layer2"]]
    assert "block layer1 uses parameters of no block" in message(net, *blocks)
    blocks[0].append("shift")
    assert len(given_blocks(net, blocks, runner(net))) == 2
    assert found(net)[0][1][0] == "shift"


# -- any network


def networks() -> st.SearchStrategy[nn.Module]:
    pieces = st.sampled_from([conv, layered, Residual, lambda: nn.BatchNorm2d(4), nn.ReLU])
    stages = st.lists(pieces, min_size=1, max_size=3).map(lambda makers: nn.Sequential(*(make() for make in makers)))
    single = pieces.map(lambda make: make())
    return st.lists(st.one_of(stages, single), min_size=1, max_size=4).map(
        lambda parts: nn.Sequential(conv(3), *parts, conv(), Pooled(), nn.Linear(4, 10))
    )


@settings(max_examples=40)
@given(networks(), st.data())
def test_whatever_is_found_can_be_frozen(net: nn.Module, data: st.DataObject) -> None:
    blocks = found(net)
    before = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    assert all(before.values())
    model, x = CustomModel(net, blocks), torch.randn(2, *SHAPE)
    owned = [
        f"{member}.{key}"
        for _, ms in blocks
        for member in ms
        for key, _ in net.get_submodule(member).named_parameters()
    ]
    assert len(owned) == len(set(owned))
    assert {name for name in before if name not in owned} == {f"{len(net) - 1}.weight", f"{len(net) - 1}.bias"}  # type: ignore[arg-type]
    model(x).square().sum().backward()
    usual = {name: parameter.grad for name, parameter in model.named_parameters()}
    frozen = data.draw(st.integers(0, len(blocks)))
    model.zero_grad()
    model.eval()
    model.train()
    model(x, frozen).square().sum().backward()
    cold = tuple(f"{member}." for _, members in model.blocks()[:frozen] for member in members)
    for name, parameter in model.named_parameters():
        if cold and name.startswith(cold):
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, usual[name])
