"""FLOPs as executed: which layer really ran, on how many examples, and whether it took part in the backward pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spfde_exp.cost.layers import Layer


class FlopMeter:
    """Counts training FLOPs by forward hooks, independent of any plan. Use as a context around the training pass.

    Attributes:
        dense_gradients: whether the steps from now on need the gradients of masked weights too; a dense gradient of
            the weights costs what it costs in a dense layer.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        """Count the layers of `model` that `layers` names."""
        self.model, self.layers = model, layers
        self._forward: dict[str, int] = {}
        self._backward: dict[str, int] = {}
        self._dense: dict[str, int] = {}
        self.dense_gradients = False
        self._handles: list[Any] = []

    def __enter__(self) -> "FlopMeter":
        self._reset()
        self._handles = [
            self.model.get_submodule(layer.name).register_forward_hook(self._hook(layer)) for layer in self.layers
        ]
        return self

    def _reset(self) -> None:
        self._forward = dict.fromkeys((layer.name for layer in self.layers), 0)
        self._backward, self._dense = dict(self._forward), dict(self._forward)

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, layer: Layer) -> Callable[[nn.Module, Any, Tensor], None]:
        name, outputs = layer.name, layer.outputs

        def count(_: nn.Module, __: Any, out: Tensor) -> None:
            examples = out.numel() // outputs
            self._forward[name] += examples
            if out.requires_grad:
                self._backward[name] += examples
                self._dense[name] += examples * self.dense_gradients

        return count

    def flops(self, kept: Mapping[str, int]) -> int:
        """FLOPs since entry, or since `take`, with `kept` weights in the masked layers."""
        total = 0
        for layer in self.layers:
            name, weights = layer.name, kept.get(layer.name, layer.weights)
            sparse = self._forward[name] + 2 * self._backward[name] - self._dense[name]
            total += 2 * layer.positions * (weights * sparse + layer.weights * self._dense[name])
        return total

    def take(self, kept: Mapping[str, int]) -> int:
        """What `flops` gives, and start anew: for layers whose weights change within a pass."""
        total = self.flops(kept)
        self._reset()
        return total
