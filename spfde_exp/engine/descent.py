"""Steps of SGD on the weights that are kept, by one call from Python for all layers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from spfde_exp.engine.kernels import Ints
from spfde_exp.engine.memory import flat

__all__ = ["Layer", "descend"]


class Layer(NamedTuple):
    """A weight, its momentum and its gradient, of the same shape, type and strides, without holes in their memory."""

    weight: Tensor
    momentum: Tensor
    gradient: Tensor
    rate: float


def descend(
    layers: Sequence[Layer], places: Ints, bounds: Ints, *, momentum: float, decay: float, nesterov: bool
) -> None:
    """A step of `torch.optim.SGD` with momentum, to rounding, on the numbers at `places` only.

    Where weight, momentum and gradient are zero, as at masked weights, a step changes nothing anyway.

    Args:
        layers: all of one type, float32 or float64, on the CPU.
        places: where in the memory of its layer each number lies.
        bounds: [layers + 1] where in `places` those of each layer begin.
        momentum, decay, nesterov: as there; the decay is that of weights.
    """
    memory = [(*(tensor.data_ptr() for tensor in layer[:3]), layer.weight.numel()) for layer in layers]
    kind = np.float32 if layers and layers[0].weight.dtype == torch.float32 else np.float64
    rates = np.array([layer.rate for layer in layers], kind)
    _descend(np.array(memory, np.int64).reshape(-1, 4), rates, places, bounds, kind(momentum), kind(decay), nesterov)


# mypy cannot look into compiled functions.
@njit(nogil=True, cache=True)
def _descend(memory, rates, places, bounds, momentum, decay, nesterov):  # type: ignore[no-untyped-def]
    for layer in range(len(rates)):
        size, rate = memory[layer, 3], rates[layer]
        weight, speed = flat(memory[layer, 0], size, rates), flat(memory[layer, 1], size, rates)
        gradient = flat(memory[layer, 2], size, rates)
        for k in places[bounds[layer] : bounds[layer + 1]]:
            slope = gradient[k] + decay * weight[k]
            speed[k] = momentum * speed[k] + slope
            weight[k] -= rate * (slope + momentum * speed[k] if nesterov else speed[k])
