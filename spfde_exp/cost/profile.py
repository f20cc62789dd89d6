"""What a model costs whatever is masked, frozen or sieved: measured once, good for every run of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from spfde_exp.cost.flops import block_shares
from spfde_exp.cost.layers import Layer, block_of, measure_layers
from spfde_exp.cost.memory import WORD
from spfde_exp.cost.stored import Saved, saved_bytes
from spfde_exp.sparse.layers import prunable_weights


@dataclass(frozen=True)
class Profile:
    """Sizes of a model on images of one shape.

    Attributes:
        layers: every weight layer with its cost.
        blocks: names of the blocks, in order.
        shares: share of the forward FLOPs of each block.
        prunable: names of the layers that may be masked; empty for dense training.
        other_params: parameters that are no layer's weight (biases, BN), per block index or None.
        buffer_bytes: bytes of the buffers (BN statistics).
        saved: what autograd keeps for the backward pass of a batch.
    """

    layers: tuple[Layer, ...]
    blocks: tuple[str, ...]
    shares: tuple[float, ...]
    prunable: tuple[str, ...]
    other_params: dict[int | None, int]
    buffer_bytes: int
    saved: Saved

    @cached_property
    def weights(self) -> dict[str, int]:
        """Layer -> number of weights."""
        return {layer.name: layer.weights for layer in self.layers}

    @property
    def masked(self) -> int:
        """Weights of the prunable layers."""
        return sum(self.weights[name] for name in self.prunable)

    @property
    def params(self) -> int:
        """All parameters."""
        return sum(self.weights.values()) + sum(self.other_params.values())

    def peak_bytes(self, batch_size: int) -> int:
        """Predicted peak of live tensor bytes in a training step without frozen blocks, at fp32.

        Weights, momentum, buffers and one byte per masked weight stand throughout; at the turn from forward to
        backward everything saved is there, and two gradients of the largest activation.
        """
        standing = 2 * WORD * self.params + self.buffer_bytes + self.masked
        largest = max(layer.outputs for layer in self.layers)
        return standing + self.saved.batch(batch_size) + 2 * WORD * batch_size * largest


def profile(model: nn.Module, example_shape: Sequence[int], prunable: str | None) -> Profile:
    """Measure `model` on images of `example_shape` (C, H, W); it stays as it was.

    Args:
        prunable: which layers are masked (`sparsity.prunable`), None for dense training.

    Raises:
        UserError: the model has no such layers.
    """
    blocks: list[tuple[str, list[str]]] = model.blocks()  # type: ignore[operator]
    layers = measure_layers(model, example_shape, blocks)
    weights = {f"{layer.name}.weight" for layer in layers}
    other: dict[int | None, int] = {}
    for name, parameter in model.named_parameters():
        if name not in weights:
            block = block_of(name, blocks)
            other[block] = other.get(block, 0) + parameter.numel()
    return Profile(
        layers=tuple(layers),
        blocks=tuple(name for name, _ in blocks),
        shares=tuple(block_shares(layers, len(blocks))),
        prunable=tuple(prunable_weights(model, prunable)) if prunable else (),
        other_params=other,
        buffer_bytes=sum(b.numel() * b.element_size() for b in model.buffers()),
        saved=saved_bytes(model, example_shape),
    )
