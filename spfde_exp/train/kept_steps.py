"""The optimiser's steps by one compiled loop over the weights that are kept."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from spfde_exp.engine.descent import Layer, descend
from spfde_exp.engine.structure import Structure
from spfde_exp.engine.structures import Structures


class KeptSteps:
    """Steps of SGD with momentum that leave out masked weights, which are zero in weight, momentum and gradient."""

    def __init__(self, weights: Mapping[str, nn.Parameter], structures: Structures) -> None:
        """Make steps on the CPU; `weights` are those with masks (layer -> weight), `structures` those of the masks."""
        self.layers = {weight: layer for layer, weight in weights.items()}
        self.structures = structures
        self._known: list[tuple[Structure | None, tuple[int, ...], int]] = []
        self._places, self._bounds = np.empty(0, np.int64), np.zeros(1, np.int64)

    def __call__(self, optimizer: torch.optim.Optimizer) -> list[tuple[nn.Parameter, Tensor]]:
        """Make a step of all that have gradients, and take these away from `optimizer`, which is left with the rest.

        The rest are those whose gradients lie otherwise in memory, and those that are not of float32: a user's own
        model may have parameters of several types.

        Returns:
            Parameters and the gradients taken, to be put back.
        """
        settings = optimizer.param_groups[0]
        if not settings["momentum"]:
            return []
        taken: list[tuple[nn.Parameter, Tensor]] = []
        layers: list[Layer] = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None or parameter.dtype != torch.float32:
                    continue
                speed = optimizer.state[parameter].get("momentum_buffer")
                if speed is None:
                    speed = optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
                if parameter.stride() == speed.stride() == gradient.stride():
                    layers.append(Layer(parameter, speed, gradient, group["lr"]))
                    taken.append((parameter, gradient))
                    parameter.grad = None
        self._find([parameter for parameter, _ in taken])
        descend(
            layers, self._places, self._bounds,
            momentum=settings["momentum"], decay=settings["weight_decay"], nesterov=settings["nesterov"],
        )  # fmt: skip
        return taken

    def _find(self, parameters: list[nn.Parameter]) -> None:
        """Where the numbers lie that steps change, anew if a mask or a parameter is another one."""
        masks = [self.structures[self.layers[p]] if p in self.layers else None for p in parameters]
        known = [(mask, p.stride(), p.numel()) for mask, p in zip(masks, parameters, strict=True)]
        if known == self._known:
            return
        self._known = known
        places = [
            mask.places(strides) if mask is not None else np.arange(count, dtype=np.int64)
            for mask, strides, count in known
        ]
        self._places = np.concatenate([np.empty(0, np.int64), *places])
        self._bounds = np.cumsum([0, *map(len, places)], dtype=np.int64)
