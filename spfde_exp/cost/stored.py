"""Memory as PyTorch executes a step: dense weights, and what autograd really keeps."""

from collections.abc import Sequence

import torch
from torch import nn

from spfde_exp.cost.layers import modes_kept
from spfde_exp.cost.memory import WORD


def saved_bytes(model: nn.Module, example_shape: Sequence[int], batch_size: int, frozen: int = 0) -> int:
    """Bytes that autograd keeps for the backward pass of a batch, with the `frozen` leading blocks at rest.

    Measured on batches of two and three examples and extrapolated; parameters and buffers are not counted, and
    storage that several tensors share counts once. The model's buffers and gradients stay as they were.
    """
    small, large = (_saved(model, example_shape, examples, frozen) for examples in (2, 3))
    return small + (batch_size - 2) * (large - small)


def peak_bytes(
    model: nn.Module, example_shape: Sequence[int], batch_size: int, masked_weights: int, largest_output: int
) -> int:
    """Predicted peak of live tensor bytes in a training step without frozen blocks, at fp32.

    Weights, momentum, buffers and one byte per masked weight stand throughout; at the turn from forward to backward
    everything saved is there, and two gradients of the largest activation.

    Args:
        masked_weights: weights under a mask.
        largest_output: elements of the largest layer output of one example.
    """
    parameters = sum(p.numel() for p in model.parameters())
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    standing = 2 * WORD * parameters + buffers + masked_weights
    return standing + saved_bytes(model, example_shape, batch_size) + 2 * WORD * batch_size * largest_output


def _saved(model: nn.Module, example_shape: Sequence[int], examples: int, frozen: int) -> int:
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    sizes: dict[int, int] = {}
    held: list[torch.Tensor] = []  # a freed address would be counted twice when it is used again

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    buffers = [buffer.clone() for buffer in model.buffers()]
    device = next(model.parameters()).device
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    try:
        with torch.random.fork_rng(devices=[]), modes_kept(model), hooks:
            model.train()
            model(torch.zeros(examples, *example_shape, device=device), frozen=frozen).logsumexp(1).sum()
    finally:
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return sum(sizes.values())
