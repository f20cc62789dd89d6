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
    tensors = (layer[:3] for layer in layers)
    addresses = np.array([[tensor.data_ptr() for tensor in three] for three in tensors], np.int64).reshape(-1, 3)
    kind = np.float32 if layers and layers[0].weight.dtype == torch.float32 else np.float64
    rates = np.array([layer.rate for layer in layers], kind)
    _descend(addresses, rates, places, bounds, kind(momentum), kind(decay), nesterov)


# mypy cannot look into compiled functions.
@njit(nogil=True, cache=True)
def _descend(addresses, rates, places, bounds, momentum, decay, nesterov):  # type: ignore[no-untyped-def]
    for layer in range(len(rates)):
        here = places[bounds[layer] : bounds[layer + 1]]
        if len(here) == 0:
            continue
        size = here.max() + 1
        weight, speed = flat(addresses[layer, 0], size, rates), flat(addresses[layer, 1], size, rates)
        gradient, rate = flat(addresses[layer, 2], size, rates), rates[layer]
        for k in here:
            slope = gradient[k] + decay * weight[k]
            speed[k] = momentum * speed[k] + slope
            weight[k] -= rate * (slope + momentum * speed[k] if nesterov else speed[k])
