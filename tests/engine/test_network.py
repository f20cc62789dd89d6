"""Whole networks by the sparse engine: what the model itself computes, in float64, with its own hooks and modes."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.engine.layers import SparseConv, SparseUnit
from spfde_exp.engine.network import SMALL_FILTER, sparse_layers
from spfde_exp.hooked import reads_shapes_only
from spfde_exp.models import BlockModel, build
from tests.engine.networks import apply, compare, engine_of, images, network_of

MODELS = [("resnet14", 0.5, 8), ("vgg19", 0.125, 16), ("mobilenet_v2", 0.25, 8), ("resnet18", 1, 32)]


@pytest.mark.parametrize(("name", "width", "size"), MODELS)
def test_logits_gradients_and_statistics(name: str, width: float, size: int) -> None:
    model, kept = network_of(name, width)
    ours = copy.deepcopy(model)
    compare(model.train(), kept, ours.train(), engine_of(ours, kept), size)


@pytest.mark.parametrize(("name", "width", "size"), MODELS[:3])
@pytest.mark.parametrize("resting", ["eval", "train"])
def test_a_frozen_prefix(name: str, width: float, size: int, resting: str) -> None:
    """With statistics that rest, or go on."""
    model, kept = network_of(name, width)
    model.train()
    if resting == "eval":
        for _, members in model.blocks()[:2]:
            for member in members:
                model.get_submodule(member).eval()
    ours = copy.deepcopy(model)
    compare(model, kept, ours, engine_of(ours, kept, 2), size, frozen=2)


@pytest.mark.parametrize(("name", "width", "size"), MODELS[:3])
@pytest.mark.parametrize("at_once", [3, 64])
def test_evaluation(name: str, width: float, size: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spfde_exp.engine.network.EVALUATED", at_once)
    model, kept = network_of(name, width)
    network = engine_of(model.train(), kept)
    x, _ = images(size)
    network(x)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(network.evaluated(x), model(x), rtol=1e-8, atol=1e-8)


def test_twenty_steps() -> None:
    """Weights, momentum and masks in step, in float64."""
    model, kept = network_of("resnet14", 0.5)
    ours = copy.deepcopy(model)
    network = engine_of(ours.train(), kept)
    x, y = images(8, 16)
    for net, logits in ((model.train(), model), (ours, network)):
        sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        for _ in range(20):
            sgd.zero_grad()
            F.cross_entropy(logits(x), y).backward()
            sgd.step()
            apply(net, kept)
    for p, q in zip(model.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(q, p, rtol=1e-6, atol=1e-9)


def test_masks_that_change_are_followed() -> None:
    """Written to in any way: in place, through a view, or replaced in the mapping."""
    model, kept = network_of("resnet14", 0.5)
    ours = copy.deepcopy(model)
    network = engine_of(ours.train(), kept)
    model.train()
    first, second, third = list(kept)[:3]
    for change in (
        lambda: kept[first].copy_(torch.rand(kept[first].shape) < 0.1),
        lambda: kept[second][0].fill_(False),
        lambda: kept.update({third: ~kept[third]}),
    ):
        change()
        for net in (model, ours):
            net.zero_grad(set_to_none=True)
            apply(net, kept)
        compare(model, kept, ours, network, 8)


def test_structures_last_as_long_as_their_masks() -> None:
    _, kept = network_of("resnet14", 0.5)
    network = engine_of(build("resnet14", 0.5, 10, 3), kept)
    layer = next(iter(kept))
    structure = network.structures[layer]
    assert network.structures[layer] is structure
    kept[layer].logical_not_()
    assert network.structures[layer] is not structure


def test_dense_gradients_on_demand() -> None:
    """All weights get theirs, behind a prefix that the engine computes."""
    model, kept = network_of("resnet14", 0.5)
    ours = copy.deepcopy(model)
    x, y = images(8)
    F.cross_entropy(model.train()(x, frozen=2), y).backward()
    F.cross_entropy(engine_of(ours.train(), kept, 2)(x, dense=True), y).backward()
    for (name, p), q in zip(model.named_parameters(), ours.named_parameters(), strict=True):
        assert (p.grad is None) == (q[1].grad is None)
        if p.grad is not None:
            torch.testing.assert_close(q[1].grad, p.grad, rtol=1e-6, atol=1e-9, msg=name)


def test_convolutions_are_hooked_as_ever() -> None:
    model, kept = network_of("resnet14", 0.5)
    network = engine_of(model.train(), kept)
    seen: list[tuple[str, torch.Size, bool]] = []
    for name in kept:
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.append((name, out.shape, out.requires_grad))
        )
    x, _ = images(8)
    model(x)
    plain, seen[:] = list(seen), []
    network(x)
    assert sorted(seen) == sorted(plain)  # a convolution may wait for its residual
    assert len(seen) == len(kept)
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_residuals_go_by_the_first_convolution_of_a_block() -> None:
    """Where there is no shortcut convolution: both blocks of the first stage, and the second of each other one."""
    model, kept = network_of("resnet14", 0.5)
    network = engine_of(model.train(), kept)
    units = [part for part in network._network(0, leading=False).modules() if isinstance(part, SparseUnit)]
    passing = [unit for unit in units if unit.passes]
    layers = {id(module): name for name, module in model.named_modules()}
    names = [layers[id(unit.conv.conv)] for unit in passing]
    assert names == [f"stage{block}.conv1" for block in ("1.0", "1.1", "2.1", "3.1")]


def test_hooks_that_read_numbers_find_them() -> None:
    """What batch norm makes between two convolutions is there for them, and to nobody else; the bits are the same."""
    model, kept = network_of("resnet14", 0.5)
    name = next(name for name in kept if name.endswith("conv2"))
    x, y = images(8)
    seen: dict[str, Tensor] = {}

    def look(_: nn.Module, inputs: tuple[Tensor], __: Tensor) -> None:
        seen["input"] = inputs[0].detach().clone()

    def step(net: BlockModel, logits: Callable[[Tensor], Tensor]) -> list[Tensor]:
        loss = F.cross_entropy(logits(x), y)
        return [loss, *torch.autograd.grad(loss, list(net.parameters()))]

    plain = copy.deepcopy(model).train()
    plain.get_submodule(name).register_forward_hook(look)
    plain(x)
    truth = seen.pop("input")
    results = []
    for hook in (None, reads_shapes_only(look), look_too := partial(look)):
        ours = copy.deepcopy(model).train()
        if hook is not None:
            ours.get_submodule(name).register_forward_hook(hook)
        results.append(step(ours, engine_of(ours, kept)))
        found = seen.pop("input", None)
        if hook is look_too:
            assert found is not None
            torch.testing.assert_close(found, truth, rtol=1e-8, atol=1e-8)
    assert all(map(torch.equal, results[0], results[1]))
    assert all(map(torch.equal, results[0], results[2]))


@pytest.mark.parametrize("name", ["stage1.0.conv2", "stage1.1.conv1", "stage1.1.conv2"])
def test_hooks_see_whole_gradients_around_a_residual(name: str) -> None:
    """Of the result of a block, and of what the convolution that would pass a residual on gives; no bit changes."""
    model, kept = network_of("resnet14", 0.5)
    x, y = images(8)
    seen: list[Tensor] = []

    def look(_: nn.Module, __: object, grads: tuple[Tensor]) -> None:
        seen.append(grads[0].clone())

    def step(net: BlockModel, logits: Callable[[Tensor], Tensor]) -> list[Tensor]:
        loss = F.cross_entropy(logits(x), y)
        return [loss, *torch.autograd.grad(loss, list(net.parameters()))]

    plain = copy.deepcopy(model).train()
    block = plain.get_submodule(name.rpartition(".")[0])
    if name.endswith("conv2"):
        block.register_full_backward_hook(look)
    else:
        block.get_submodule("conv2").register_full_backward_hook(lambda module, grads, _: look(module, None, grads))
    step(plain, plain)
    truth = seen.pop()
    results = []
    for hooked in (False, True):
        ours = copy.deepcopy(model).train()
        if hooked:
            ours.get_submodule(name).register_full_backward_hook(look)
        results.append(step(ours, engine_of(ours, kept)))
    (found,) = seen
    torch.testing.assert_close(found, truth, rtol=1e-8, atol=1e-12)
    assert all(map(torch.equal, *results))


def test_what_the_next_convolution_alone_reads_is_not_kept() -> None:
    """A block of two convolutions keeps the results of both, and of the second batch norm."""
    model, kept = network_of("resnet14", 0.5)
    network = engine_of(model.train(), kept)
    x, _ = images(8)
    kept_bytes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.dim() == 4:
            kept_bytes[tensor.data_ptr()] = tensor.numel() * tensor.itemsize
        return tensor

    totals = []
    for hooked in (False, True):
        if hooked:
            for name in kept:
                model.get_submodule(name).register_forward_hook(lambda *_: None)
        kept_bytes.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(x)
        totals.append(sum(kept_bytes.values()))
    spared = sum(
        len(x) * conv.out_channels * side * side * x.itemsize
        for name, conv in model.named_modules()
        if isinstance(conv, nn.Conv2d) and name.endswith("conv1") and conv.stride == (1, 1)
        for side in [8 >> (int(name.removeprefix("stage")[0]) - 1)]
    )
    assert totals[1] - totals[0] == spared > 0


def test_the_model_knows_nothing_of_it() -> None:
    model, kept = network_of("resnet14", 0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    strides = [p.stride() for p in model.parameters()]
    engine_of(model, kept)(images(8)[0])
    assert model.state_dict().keys() == before.keys()
    assert [p.stride() for p in model.parameters()] == strides
    assert not any(isinstance(module, SparseConv) for module in model.modules())


def test_which_layers_have_something_to_gain() -> None:
    """Masked ones, with them that of the images; none where all weights are kept."""
    model, kept = network_of("mobilenet_v2", 0.25)
    found = sparse_layers(model, kept)
    assert "stem.conv" in found
    assert model.get_submodule("stem.conv").get_parameter("weight")[0].numel() == SMALL_FILTER
    assert {name for name in found if "depthwise" in name} == {name for name in kept if "depthwise" in name}
    full = next(name for name in kept if name in found)
    kept[full].fill_(True)
    assert full not in sparse_layers(model, kept)
    assert sparse_layers(model, {name: torch.ones_like(mask) for name, mask in kept.items()}) == frozenset()
