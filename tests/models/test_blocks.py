"""Blocks cover the network in the order of execution, and a frozen prefix stores nothing."""

import copy

import pytest
import torch
from torch import Tensor, nn

from spfde_exp.models import NAMES, BlockNet, build


@pytest.fixture
def model() -> BlockNet:
    torch.manual_seed(0)
    return build("resnet14", 0.5, 10, 1)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_blocks_partition_all_but_the_classifier(name: str) -> None:
    model = build(name, 0.25, 10, 3)
    blocks = model.blocks()
    assert len(blocks) == (int(name.removeprefix("resnet")) - 2) // 2
    covered: list[str] = []
    for _, members in blocks:
        for member in members:
            covered += [f"{member}.{key}" for key, _ in model.get_submodule(member).named_parameters()]
    assert len(covered) == len(set(covered))
    assert set(covered) == {key for key, _ in model.named_parameters() if not key.startswith("classifier.")}


def test_blocks_are_in_the_order_of_execution(model: BlockNet, x: Tensor) -> None:
    owner = {member: index for index, (_, members) in enumerate(model.blocks()) for member in members}
    ran: list[int] = []
    for name, module in model.named_modules():
        for member, index in owner.items():
            if isinstance(module, nn.Conv2d) and name.startswith(member + "."):
                module.register_forward_hook(lambda *_, index=index: ran.append(index))
    model(x)
    assert ran == sorted(ran)
    assert set(ran) == set(range(6))
    assert model.blocks()[0] == ("stage1.0", ["stem", "stage1.0"])
    assert model.blocks()[3] == ("stage2.1", ["stage2.1"])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frozen", range(7))
def test_frozen_prefix_gives_the_same_output(model: BlockNet, x: Tensor, frozen: int, training: bool) -> None:
    model.train(training)
    plain = copy.deepcopy(model)
    assert torch.equal(model(x, frozen), plain(x))
    for (key, after), other in zip(model.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(after, other), key


@pytest.mark.parametrize("frozen", range(1, 7))
def test_frozen_prefix_gets_no_gradient_and_the_rest_the_usual_one(model: BlockNet, x: Tensor, frozen: int) -> None:
    plain = copy.deepcopy(model)
    model(x, frozen).square().sum().backward()
    plain(x).square().sum().backward()
    cold = tuple(f"{member}." for _, members in model.blocks()[:frozen] for member in members)
    for (key, parameter), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        if key.startswith(cold):
            assert parameter.grad is None, key
        else:
            assert parameter.grad is not None and other.grad is not None, key
            assert torch.equal(parameter.grad, other.grad), key


def test_frozen_prefix_saves_no_tensors(model: BlockNet, x: Tensor) -> None:
    def saved(frozen: int) -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []

        def pack(tensor: Tensor) -> Tensor:
            shapes.append(tuple(tensor.shape))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(x, frozen)
        return shapes

    everything = saved(0)
    counts = [len(everything)] + [len(saved(frozen)) for frozen in range(1, 7)]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 7
    # Stages 1 and 2 work on 8x8 and 4x4 maps: with four blocks frozen no 8x8 map is kept at all, and of the
    # 4x4 ones only the input of stage3.0 (for conv1 and for the shortcut).
    assert any(shape[2:] == (8, 8) for shape in everything)
    assert not any(shape[2:] == (8, 8) for shape in saved(4))
    assert [shape for shape in saved(4) if shape[2:] == (4, 4)] == [(4, 16, 4, 4)] * 2
    assert all(len(shape) == 2 for shape in saved(6))  # the classifier's


@pytest.mark.parametrize("frozen", [-1, 7])
def test_more_frozen_blocks_than_there_are(model: BlockNet, x: Tensor, frozen: int) -> None:
    with pytest.raises(ValueError, match="6 blocks"):
        model(x, frozen)
