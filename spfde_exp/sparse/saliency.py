"""Scores of connections before training: SNIP, GraSP and SynFlow, each as its paper defines it.

All work on a copy of the network, so that its weights, gradients and batch norm statistics stay as they are, and
without masks: every weight exists when it is scored.
"""

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.errors import UserError
from spfde_exp.sparse.layers import weight_layers
from spfde_exp.sparse.ranking import top

PIXELS = 500 * 32 * 32  # at a time: as many as in GraSP's halves for CIFAR-100
LEAST = 20  # examples at a time, however large; what GraSP's authors take on ImageNet


class Examples(Protocol):
    """What methods see of the training set."""

    @property
    def labels(self) -> Tensor:
        """Of the whole set, int64 [N]."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: channels, height, width."""

    def epoch(self, kept: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches x [B, C, H, W], y [B] and indices [B] of the examples `kept`, each once."""


def random_examples(examples: Examples, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images and labels of `count` examples drawn at random (all, where there are fewer)."""
    chosen = torch.randperm(len(examples.labels), generator=generator)[:count]
    return gather(examples, chosen, generator)


def balanced_examples(examples: Examples, per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images and labels of `per_class` examples of every class, drawn at random, classes one after another."""
    labels = examples.labels.cpu()
    order = torch.randperm(len(labels), generator=generator)
    chosen = [order[labels[order] == label][:per_class] for label in labels.unique()]
    return gather(examples, torch.cat(chosen), generator)


def gather(examples: Examples, chosen: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images and labels of the examples `chosen` (int64 [n]), augmented, in the order of `chosen`, on the CPU."""
    batches = examples.epoch(chosen.to(examples.labels.device), generator)
    images, labels, indices = (torch.cat([part.cpu() for part in parts]) for parts in zip(*batches, strict=True))
    place = indices.argsort()[chosen.argsort().argsort()]
    return images[place], labels[place]


def snip(model: nn.Module, layers: Sequence[str], batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """|dL/dc| = |w dL/dw| of every weight, normalised to sum 1 over all `layers` (Lee et al., ICLR 2019, eq. 6).

    Batch norm uses its running statistics, as in the released code.
    """
    net = deepcopy(model).eval()
    weights = _weights(net, layers)
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for piece in _pieces(batches):
        for name, gradient in zip(weights, _gradients(net, weights, piece), strict=True):
            total[name] += gradient
    scores = {name: (weights[name] * total[name]).detach().abs() for name in weights}
    return _normalised(scores, sum(float(score.double().sum()) for score in scores.values()))


def grasp(
    model: nn.Module, layers: Sequence[str], batches: Sequence[tuple[Tensor, Tensor]], temperature: float = 200.0
) -> dict[str, Tensor]:
    """What keeping a weight does to the gradient flow: w Hg, the larger the better (Wang et al., ICLR 2020, eq. 8).

    The paper removes the weights of the largest -w Hg. The flow is that of the weights of every convolution and linear
    layer, also where only `layers` are scored. Each batch is split into halves, and large ones into pieces; logits are
    divided by `temperature`; g sums over all halves without a graph, Hg is the gradient of <g, dL/dw>. Batch norm is
    in training mode. Scores are divided by the sum of their magnitudes.
    """
    net = deepcopy(model).train()
    weights = _weights(net, list(weight_layers(net)))
    pieces = _pieces([half for x, y in batches for half in zip(x.chunk(2), y.chunk(2), strict=True)])
    flow = [torch.zeros_like(weight) for weight in weights.values()]
    for piece in pieces:
        for total, part in zip(flow, _gradients(net, weights, piece, temperature), strict=True):
            total += part
    hessian = [torch.zeros_like(weight) for weight in weights.values()]
    for piece in pieces:
        gradients = _gradients(net, weights, piece, temperature, create_graph=True)
        product = torch.stack([(g * f).sum() for g, f in zip(gradients, flow, strict=True)]).sum()
        parts = torch.autograd.grad(product, list(weights.values()), materialize_grads=True)
        for total, part in zip(hessian, parts, strict=True):
            total += part
    flows = dict(zip(weights, hessian, strict=True))
    scores = {name: (weights[name] * flows[name]).detach() for name in layers}
    return _normalised(scores, sum(float(score.double().abs().sum()) for score in scores.values()))


def synflow(
    model: nn.Module, layers: Sequence[str], shape: Sequence[int], density: float, rounds: int = 100
) -> dict[str, Tensor]:
    """|w dR/dw| in the last round of iterative pruning (Tanaka et al., NeurIPS 2020, algorithm 1); what is out has -1.

    R is the sum of the outputs of the network of absolute weights, on one image of ones of `shape` (C, H, W); before
    round k (of `rounds`) the best density^((k - 1) / rounds) of the weights are kept, over all `layers` together.
    Needs no data. Double precision, as R overflows fp32 in deep networks; batch norm uses its running statistics.

    Raises:
        UserError: R depends on no weight, so that there is nothing to rank by.
    """
    net = deepcopy(model).double().eval()
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.abs_()
    weights = _weights(net, layers)
    x = torch.ones(1, *shape, dtype=torch.float64, device=next(net.parameters()).device)
    everything = sum(weight.numel() for weight in weights.values())
    scores: dict[str, Tensor] = {}
    kept = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    for index in range(rounds):
        if index:
            kept = best(scores, round(everything * density ** (index / rounds)))
            with torch.no_grad():
                for name, weight in weights.items():
                    weight.mul_(kept[name])
        gradients = torch.autograd.grad(net(x).sum(), list(weights.values()))
        scores = {
            name: (weight * gradient).detach().abs().masked_fill(~kept[name], -1.0)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
        total = sum(float(score[kept[name]].sum()) for name, score in scores.items())
        if not 0 < total < math.inf:
            raise UserError(
                f"SynFlow's scores add up to {total:g} in round {index + 1} of {rounds}, so nothing can be ranked: "
                "activations saturate (ReLU6), or no flow is left, or too much; choose another method or model, or a "
                "lower sparsity"
            )
    return scores


def best(scores: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """Masks of the `count` weights of the highest score over all layers; ties go to earlier layers and positions."""
    chosen = top(torch.cat([score.flatten() for score in scores.values()]), count)
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}


def _weights(net: nn.Module, layers: Sequence[str]) -> dict[str, nn.Parameter]:
    return {name: net.get_submodule(name).get_parameter("weight") for name in layers}


def _pieces(batches: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor, int]]:
    """Batches in pieces that fit into memory, each with the size of the batch that it is of."""
    answer = []
    for x, y in batches:
        size = max(LEAST, PIXELS // (x.shape[-2] * x.shape[-1]))
        answer += [(*piece, len(y)) for piece in zip(x.split(size), y.split(size), strict=True)]
    return answer


def _gradients(
    net: nn.Module,
    weights: dict[str, nn.Parameter],
    piece: tuple[Tensor, Tensor, int],
    temperature: float = 1.0,
    create_graph: bool = False,
) -> tuple[Tensor, ...]:
    """Of the part of a batch's mean loss that `piece` is."""
    x, y, whole = piece
    device = next(iter(weights.values())).device
    loss = F.cross_entropy(net(x.to(device)).float() / temperature, y.to(device), reduction="sum") / whole
    return torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph, materialize_grads=True)


def _normalised(scores: dict[str, Tensor], by: float) -> dict[str, Tensor]:
    return {name: score / by if by else score for name, score in scores.items()}
