"""Whole networks by the sparse engine: what the model itself computes, in float64, with its own hooks and modes."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.engine.layers import SparseConv, SparseUnit
from spfde_exp.engine.network import SMALL_FILTER, SparseNetwork, sparse_layers
from spfde_exp.hooked import reads_shapes_only
from spfde_exp.models import BlockModel, build
from spfde_exp.models.custom import build_custom
from spfde_exp.sparse.layers import prunable_weights

MODELS = [("resnet14", 0.5, 8), ("vgg19", 0.125, 16), ("mobilenet_v2", 0.25, 8), ("resnet18", 1, 32)]


def masks_of(model: nn.Module, density: float = 0.3) -> dict[str, Tensor]:
    """Random masks, applied to the weights."""
    random = torch.Generator().manual_seed(1)
    weights = prunable_weights(model, "convs_but_first")
    kept = {name: torch.rand(weight.shape, generator=random) < density for name, weight in weights.items()}
    apply(model, kept)
    return kept


@torch.no_grad()
def apply(model: nn.Module, kept: dict[str, Tensor]) -> None:
    for name, mask in kept.items():
        model.get_submodule(name).get_parameter("weight").mul_(mask)


def images(size: int, n: int = 5) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    return torch.randn(n, 3, size, size, dtype=torch.float64, generator=random), torch.arange(n) % 10


def network_of(name: str, width: float, density: float = 0.3) -> tuple[BlockModel, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = build(name, width, 10, 3).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, masks_of(model, density)


def engine_of(model: BlockModel, kept: dict[str, Tensor], frozen: int = 0) -> SparseNetwork:
    network = SparseNetwork(model, kept)
    network.prepare(frozen, sparse_layers(model, kept))
    return network


def compare(plain: BlockModel, kept: dict[str, Tensor], ours: BlockModel, network: SparseNetwork, size: int,
            frozen: int = 0) -> None:  # fmt: skip
    """Logits, gradients (masked), running statistics."""
    sparse = sparse_layers(plain, kept)
    x, y = images(size)
    truth, logits = plain(x, frozen=frozen), network(x)
    torch.testing.assert_close(logits, truth, rtol=1e-8, atol=1e-8)
    for value in (truth, logits):
        F.cross_entropy(value, y).backward()
    for (name, p), q in zip(plain.named_parameters(), ours.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None and q.grad is not None:
            mask = kept.get(layer := name.removesuffix(".weight"), torch.ones(()))
            ours_masked = q.grad if layer in sparse else q.grad * mask  # as the optimiser does
            torch.testing.assert_close(ours_masked, p.grad * mask, rtol=1e-6, atol=1e-9, msg=name)
            assert q.grad.stride() == q.stride(), name
    for (name, one), other in zip(plain.named_buffers(), ours.buffers(), strict=True):
        torch.testing.assert_close(other, one, msg=name)


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


class Odd(nn.Module):
    """Biases, a broadcast sum, an addition in place of what is used again, pre-activation, a layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1 = nn.Conv2d(8, 8, 3, padding="same")
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False)
        self.conv2 = nn.Conv2d(8, 8, 1, stride=2)
        self.conv3 = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.bn1(x).relu()
        z = self.conv1(self.conv1(y)) + x
        w = 2 * z
        w += self.bn2(z)
        z = z + w
        z = torch.relu(self.bn2(self.conv2(z)) + self.conv2(z).mean((2, 3), keepdim=True))
        z = self.bn3(self.conv3(z)) + z
        return self.classifier(z.mean((2, 3)))  # type: ignore[no-any-return]


def test_a_model_of_one_s_own() -> None:
    torch.manual_seed(0)
    model = build_custom(Odd, {}, [["first", "bn1"], ["conv1"]], 10, (3, 8, 8)).double()
    kept = masks_of(model)
    ours = copy.deepcopy(model)
    network = engine_of(ours.train(), kept)
    compare(model.train(), kept, ours, network, 8)
    for net in (model, ours):
        net.zero_grad(set_to_none=True)
    network.prepare(1, sparse_layers(ours, kept))
    compare(model, kept, ours, network, 8, frozen=1)


class Braided(nn.Module):
    """Units whose results others read, too, or that come before a residual; two of them share a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, k, padding=k // 2, bias=False) for k in (3, 3, 1, 3, 5, 3, 3))
        self.bns = nn.ModuleList(nn.BatchNorm2d(8, momentum=0.5) for _ in range(7))
        self.classifier = nn.Linear(24, 10)

    def unit(self, i: int, x: Tensor, norm: int | None = None) -> Tensor:
        return self.bns[i if norm is None else norm](self.convs[i](x))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        y = self.unit(0, x).relu()
        side = self.unit(1, x, norm=0).relu()  # between two units of which the second alone reads the first
        z = (self.unit(2, y) + side).relu()
        z = self.unit(3, z)
        z = (self.unit(4, z) + z).relu()  # its own input
        w = (self.unit(5, z) + x).relu()  # a residual first
        w = self.unit(6, w).relu()
        return self.classifier(F.pad(torch.cat([w, z, y], 1).mean((2, 3)), (0, 0)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_units_that_others_read_too(frozen: int) -> None:
    torch.manual_seed(0)
    blocks = [["first"], ["convs.0", "convs.1", "bns.0"]]
    model = build_custom(Braided, {}, blocks, 10, (3, 8, 8)).double()
    kept = masks_of(model)
    ours = copy.deepcopy(model)
    compare(model.train(), kept, ours.train(), engine_of(ours, kept, frozen), 8, frozen=frozen)


class Crossed(nn.Module):
    """Blocks whose shortcut is a convolution that is no unit, and comes first or last."""

    def __init__(self, first: bool, **shortcut: Any) -> None:
        super().__init__()
        self.first, self.alike = first, "stride" not in shortcut
        self.stem, self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.conv2, self.shortcut = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 1, **shortcut)
        self.bn, self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        by = self.shortcut(x) if self.first else None
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        by = self.shortcut(x) if by is None else by
        y = F.relu(y + by) if self.alike else F.relu(y).mean((2, 3), keepdim=True) + by
        return self.classifier(y.mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("shortcut", [{"bias": True}, {"bias": False}, {"bias": False, "stride": 2}], ids=str)
@pytest.mark.parametrize("first", [True, False])
def test_shortcuts_that_are_no_units(first: bool, shortcut: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build_custom(lambda: Crossed(first, **shortcut), {}, [["stem", "bn"]], 10, (3, 8, 8)).double()
    kept = masks_of(model)
    ours = copy.deepcopy(model)
    compare(model.train(), kept, ours.train(), engine_of(ours, kept), 8)


def test_what_looks_at_data_cannot_be_traced() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.classifier = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return self.classifier((x if x.sum() > 0 else -x).mean((2, 3)))  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match="it cannot be traced: "):
        SparseNetwork(build_custom(Looks, {}, [["conv"]], 10, (3, 8, 8)), {})
