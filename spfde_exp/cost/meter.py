"""FLOPs as executed: which layer really ran, on how many examples, and whether it took part in the backward pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spfde_exp.cost.layers import Layer
from spfde_exp.hooked import reads_shapes_only


class FlopMeter:
    """Counts training FLOPs by forward hooks, independent of any plan. Use as a context around the training pass.

    Attributes:
        dense_gradients: whether the steps from now on need the gradients of masked weights too; a dense gradient of
            the weights costs what it costs in a dense layer.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer], resting: nn.Module | None = None) -> None:
        """Count the layers of `model` that `layers` names.

        Args:
            resting: what runs in place of frozen layers, under the same names.
        """
        self.model, self.layers, self.resting = model, layers, resting
        self._forward: dict[str, int] = {}
        self._backward: dict[str, int] = {}
        self._dense: dict[str, int] = {}
        self._last: dict[str, bool] = {}  # layers that ran in the last step; whether the backward pass takes part
        self.dense_gradients = False
        self._handles: list[Any] = []

    def __enter__(self) -> "FlopMeter":
        self._reset()
        self.watch(True)
        return self

    def watch(self, on: bool) -> None:
        """Whether layers have hooks from now on; steps without are told by `repeat`."""
        if on == bool(self._handles):
            return
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        resting = dict(self.resting.named_modules()) if self.resting else {}
        for layer in self.layers if on else ():
            self._handles.append(self.model.get_submodule(layer.name).register_forward_hook(self._hook(layer)))
            if layer.name in resting:
                self._handles.append(resting[layer.name].register_forward_hook(self._resting_hook(layer)))

    def repeat(self, examples: int) -> None:
        """Count a step that ran the same layers as the last one, where no hook could see it."""
        for name, backward in self._last.items():
            self._count(name, examples, backward)

    def _reset(self) -> None:
        self._forward = dict.fromkeys((layer.name for layer in self.layers), 0)
        self._backward, self._dense = dict(self._forward), dict(self._forward)

    def __exit__(self, *_: object) -> None:
        self.watch(False)

    def _hook(self, layer: Layer) -> Callable[[nn.Module, Any, Tensor], None]:
        name, outputs = layer.name, layer.outputs

        @reads_shapes_only
        def count(_: nn.Module, __: Any, out: Tensor) -> None:
            self._last[name] = out.requires_grad
            self._count(name, out.numel() // outputs, out.requires_grad)

        return count

    def _resting_hook(self, layer: Layer) -> Callable[[nn.Module, Any, Tensor], None]:
        def count(_: nn.Module, __: Any, out: Tensor) -> None:  # of any number of channels, as dead ones are left out
            self._last[layer.name] = False
            self._count(layer.name, len(out), False)

        return count

    def _count(self, name: str, examples: int, backward: bool) -> None:
        self._forward[name] += examples
        if backward:
            self._backward[name] += examples
            self._dense[name] += examples * self.dense_gradients

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
