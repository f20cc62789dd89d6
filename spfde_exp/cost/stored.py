"""What autograd really keeps for the backward pass of a step, as PyTorch executes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from spfde_exp.cost.layers import modes_kept


@dataclass(frozen=True)
class Saved:
    """Bytes that autograd keeps for the backward pass: a line in the examples of the batch."""

    fixed: int
    per_example: int

    def batch(self, examples: int) -> int:
        """Bytes for a batch of `examples`."""
        return self.fixed + examples * self.per_example


def saved_bytes(model: nn.Module, example_shape: Sequence[int], frozen: int = 0) -> Saved:
    """What autograd keeps of batches of images (C, H, W), with the `frozen` leading blocks at rest.

    Measured on batches of two and three examples; parameters and buffers are not counted, and storage that several
    tensors share counts once. The model's buffers and gradients stay as they were.
    """
    two, three = (_saved(model, example_shape, examples, frozen) for examples in (2, 3))
    return Saved(fixed=two - 2 * (three - two), per_example=three - two)


def _saved(model: nn.Module, example_shape: Sequence[int], examples: int, frozen: int) -> int:
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    sizes: dict[int, int] = {}
    held: list[torch.Tensor] = []  # a freed address would be counted twice when it is used again

    def keep(tensor: torch.Tensor) -> None:  # nothing: a node that keeps its own output is a cycle nobody collects
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)

    buffers = [buffer.clone() for buffer in model.buffers()]
    device = next(model.parameters()).device
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda nothing: nothing)
    try:
        with torch.random.fork_rng(devices=[]), modes_kept(model), hooks:
            model.train()
            model(torch.zeros(examples, *example_shape, device=device), frozen=frozen).logsumexp(1).sum()
    finally:
        held.clear()  # for the same reason: its tensors lead to their nodes, which hold `keep`
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return sum(sizes.values())
