"""Blocks cover the network in the order of execution, and a frozen prefix stores nothing."""

import copy

import pytest
import torch
from torch import Tensor, nn

from spfde_exp.models import NAMES, BlockModel, BlockNet, build

BLOCKS = {
    **{f"resnet{depth}": (depth - 2) // 2 for depth in (14, 20, 32, 56, 110)},
    "vgg19": 16,
    "mobilenet_v2": 18,  # 17 inverted residuals and the last convolution
    "resnet18": 8,
    "resnet34": 16,
    "resnet50": 16,
    "resnet50_cifar": 16,  # SpFDE Table A5: 16
}
SHALLOW = ["resnet14", "vgg19", "mobilenet_v2", "resnet18", "resnet50_cifar"]


def small(name: str, channels: int = 3) -> BlockModel:
    """A network as narrow as it comes."""
    torch.manual_seed(0)
    return build(name, 1 if name in ("resnet18", "resnet34", "resnet50", "resnet50_cifar") else 0.25, 10, channels)


def images(channels: int = 3, size: int = 16) -> Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model() -> BlockModel:
    torch.manual_seed(0)
    return build("resnet14", 0.5, 10, 1)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_blocks_partition_all_but_the_classifier(name: str) -> None:
    model = small(name)
    blocks = model.blocks()
    assert len(blocks) == BLOCKS[name] == len({block for block, _ in blocks})
    covered: list[str] = []
    for _, members in blocks:
        for member in members:
            covered += [f"{member}.{key}" for key, _ in model.get_submodule(member).named_parameters()]
    assert len(covered) == len(set(covered))
    classifier = "classifier." if isinstance(model, BlockNet) else "fc."
    assert set(covered) == {key for key, _ in model.named_parameters() if not key.startswith(classifier)}


@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_in_the_order_of_execution(name: str) -> None:
    model = small(name).eval()
    owner = {member: index for index, (_, members) in enumerate(model.blocks()) for member in members}
    ran: list[int] = []
    for key, module in model.named_modules():
        for member, index in owner.items():
            if isinstance(module, nn.Conv2d) and f"{key}.".startswith(f"{member}."):
                module.register_forward_hook(lambda *_, index=index: ran.append(index))
    assert model(images()).shape == (2, 10)
    assert ran == sorted(ran)
    assert set(ran) == set(range(BLOCKS[name]))


@pytest.mark.parametrize("name", NAMES)
def test_images_of_one_channel_and_of_any_size(name: str) -> None:
    model = small(name, channels=1).eval()
    for size in (8, 28, 33):
        assert model(images(1, size)).shape == (2, 10)


def test_the_stem_belongs_to_the_first_block(model: BlockModel) -> None:
    assert model.blocks()[0] == ("stage1.0", ["stem", "stage1.0"])
    assert model.blocks()[3] == ("stage2.1", ["stage2.1"])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", SHALLOW)
def test_frozen_prefix_gives_the_same_output(name: str, training: bool) -> None:
    model, x = small(name), images()
    model.train(training)
    for frozen in (0, 1, 2, BLOCKS[name] - 1, BLOCKS[name]):
        plain, cold = copy.deepcopy(model), copy.deepcopy(model)
        assert torch.equal(cold(x, frozen), plain(x))
        for (key, after), other in zip(cold.state_dict().items(), plain.state_dict().values(), strict=True):
            assert torch.equal(after, other), key


@pytest.mark.parametrize("name", SHALLOW)
def test_frozen_prefix_gets_no_gradient_and_the_rest_the_usual_one(name: str) -> None:
    plain, x = small(name), images()
    plain(x).square().sum().backward()
    for frozen in (1, BLOCKS[name] // 2, BLOCKS[name]):
        model = small(name)
        model(x, frozen).square().sum().backward()
        cold = tuple(f"{member}." for _, members in model.blocks()[:frozen] for member in members)
        for (key, parameter), other in zip(model.named_parameters(), plain.parameters(), strict=True):
            if key.startswith(cold):
                assert parameter.grad is None, key
            else:
                assert parameter.grad is not None and other.grad is not None, key
                assert torch.equal(parameter.grad, other.grad), key


def saved(model: BlockModel, x: Tensor, frozen: int) -> list[tuple[int, ...]]:
    """Shapes of what autograd keeps."""
    shapes: list[tuple[int, ...]] = []

    def pack(tensor: Tensor) -> Tensor:
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x, frozen)
    return shapes


@pytest.mark.parametrize("name", SHALLOW)
def test_each_frozen_block_saves_less(name: str) -> None:
    model, x = small(name), images()
    counts = [len(saved(model, x, frozen)) for frozen in range(BLOCKS[name] + 1)]
    assert counts == sorted(set(counts), reverse=True)
    assert all(len(shape) == 2 for shape in saved(model, x, BLOCKS[name]))  # the classifier's


def test_what_a_frozen_prefix_saves(model: BlockModel, x: Tensor) -> None:
    # Stages 1 and 2 work on 8x8 and 4x4 maps: with four blocks frozen no 8x8 map is kept at all, and of the
    # 4x4 ones only the input of stage3.0 (for conv1 and for the shortcut).
    assert any(shape[2:] == (8, 8) for shape in saved(model, x, 0))
    assert not any(shape[2:] == (8, 8) for shape in saved(model, x, 4))
    assert [shape for shape in saved(model, x, 4) if shape[2:] == (4, 4)] == [(4, 16, 4, 4)] * 2


@pytest.mark.parametrize("frozen", [-1, 7])
def test_more_frozen_blocks_than_there_are(model: BlockModel, x: Tensor, frozen: int) -> None:
    with pytest.raises(ValueError, match="6 blocks"):
        model(x, frozen)
