"""FLOPs as executed: which layer really ran, on how many examples, and whether it took part in the backward pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spfde_exp.cost.layers import Layer


class FlopMeter:
    """Counts training FLOPs by forward hooks, independent of any plan. Use as a context around the training pass."""

    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        """Count the layers of `model` that `layers` names."""
        self.model, self.layers = model, layers
        self._forward: dict[str, int] = {}
        self._backward: dict[str, int] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> "FlopMeter":
        self._forward = dict.fromkeys((layer.name for layer in self.layers), 0)
        self._backward = dict(self._forward)
        self._handles = [
            self.model.get_submodule(layer.name).register_forward_hook(self._hook(layer)) for layer in self.layers
        ]
        return self

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

        return count

    def flops(self, kept: Mapping[str, int]) -> int:
        """FLOPs since entry, with `kept` weights in the masked layers."""
        return sum(
            2
            * kept.get(layer.name, layer.weights)
            * layer.positions
            * (self._forward[layer.name] + 2 * self._backward[layer.name])
            for layer in self.layers
        )
