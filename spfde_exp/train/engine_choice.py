"""Which layers the sparse engine computes faster than PyTorch, and whether a whole step with them is faster: by trying.

All is timed on a copy of the model and on numbers without meaning, so that a run computes with the same ones.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.engine.conv import sparse_conv2d
from spfde_exp.engine.layout import padded, to_layout
from spfde_exp.engine.network import SparseNetwork
from spfde_exp.engine.structure import Structure
from spfde_exp.models.base import BlockModel

TURNS = 3  # of which the fastest counts: whatever else the machine does only makes them slower
STEPS = 10  # of dense training that a choice takes at most, about

Logits = Callable[[Tensor], Tensor]


class _Call(NamedTuple):
    """What a layer is called with."""

    shape: torch.Size
    input_gradient: bool
    weight_gradient: bool


def fastest_layers(
    model: BlockModel,
    kept: Mapping[str, Tensor],
    candidates: frozenset[str],
    batch: Sequence[int],
    frozen: int,
    dense: Callable[[BlockModel, int], Logits],
) -> frozenset[str]:
    """Those of `candidates` that are faster sparse, if a training step with them is faster than without; else none.

    Args:
        model: in the modes in which it trains; it stays as it is.
        batch: shape of a batch, (B, C, H, W).
        frozen: leading blocks at rest.
        dense: makes what computes the logits of a model with so many blocks at rest, without the engine.
    """
    with torch.random.fork_rng(devices=[]):
        trial = _copied(model)
        x = torch.randn(*batch).to(memory_format=torch.channels_last)
        layers = _faster(trial, kept, _calls(trial, x, frozen, candidates))
        if not layers:
            return layers
        network = SparseNetwork(trial, kept)
        network.prepare(frozen, layers)
        plain = dense(trial, frozen)
        return layers if _first_is_faster(partial(_step, network, x), partial(_step, plain, x)) else frozenset()


def _copied(model: BlockModel) -> BlockModel:
    """`model` without gradients and hooks."""
    answer = copy.deepcopy(model)
    for module in answer.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return answer


def _calls(model: BlockModel, x: Tensor, frozen: int, layers: frozenset[str]) -> dict[str, _Call]:
    """How each of `layers` is called in a training step."""
    found: dict[str, _Call] = {}

    def look(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        trains = torch.is_grad_enabled()
        gradients = inputs[0].requires_grad, module.get_parameter("weight").requires_grad
        found[name] = _Call(inputs[0].shape, *(trains and needed for needed in gradients))

    handles = [model.get_submodule(name).register_forward_pre_hook(partial(look, name)) for name in layers]
    model(x, frozen=frozen)
    for handle in handles:
        handle.remove()
    return found


def _faster(model: BlockModel, kept: Mapping[str, Tensor], calls: Mapping[str, _Call]) -> frozenset[str]:
    """Layers that are faster sparse. Those alike in shape and density are timed once."""
    known: dict[tuple[object, ...], bool] = {}
    answer = set()
    for name, call in calls.items():
        conv = model.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        mask = kept.get(name, torch.ones_like(conv.weight, dtype=torch.bool))
        key = call, conv.weight.shape, conv.stride, conv.groups, round(float(mask.double().mean()), 2)
        if key not in known:
            known[key] = _first_is_faster(*_convolutions(conv, mask, call))
        if known[key]:
            answer.add(name)
    return frozenset(answer)


def _convolutions(conv: nn.Conv2d, mask: Tensor, call: _Call) -> tuple[Callable[[], None], Callable[[], None]]:
    """One layer, sparse and dense, forward and back, where all around is in the layout of the engine."""
    border, stride, structure = conv.kernel_size[0] // 2, conv.stride[0], Structure(mask, conv.groups)
    x = to_layout(torch.randn(call.shape), border).requires_grad_(call.input_gradient)
    weight = conv.weight.detach().requires_grad_(call.weight_gradient)
    leaves = [leaf for leaf in (x, weight) if leaf.requires_grad]
    with torch.no_grad():
        gradient = to_layout(torch.randn_like(sparse_conv2d(x, weight, structure, stride)), border)

    def run(y: Tensor) -> None:
        padded(y)  # a copy where it is not in the layout
        if leaves:
            padded(torch.autograd.grad(y, leaves, gradient)[0])

    return (
        lambda: run(sparse_conv2d(x, weight, structure, stride)),
        lambda: run(F.conv2d(x, weight, stride=stride, padding=border, groups=conv.groups)),
    )


def _step(logits: Logits, x: Tensor) -> None:
    F.cross_entropy(logits(x), torch.zeros(len(x), dtype=torch.int64)).backward()


def _first_is_faster(one: Callable[[], None], other: Callable[[], None]) -> bool:
    """Whether `one` takes less time than `other`."""
    seconds: list[list[float]] = [[], []]
    for _ in range(1 + TURNS):  # the first calls make what is used again
        for taken, call in zip(seconds, (one, other), strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return min(seconds[0][1:]) < min(seconds[1][1:])
