"""Steps of SGD by one call from Python, and one pass over memory, for all layers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from spfde_exp.engine.kernels import by_threads
from spfde_exp.engine.memory import flat

__all__ = ["Layer", "descend"]


class Layer(NamedTuple):
    """A weight, its momentum and its gradient, of the same shape, type and strides, without holes in their memory.

    No two layers have memory in common.
    """

    weight: Tensor
    momentum: Tensor
    gradient: Tensor
    rate: float


def descend(layers: Sequence[Layer], *, momentum: float, decay: float, nesterov: bool) -> None:
    """A step of `torch.optim.SGD` with momentum, to rounding, by torch's number of threads: the same bits with any.

    It goes through masked weights, too, which it leaves at zero, as their momentum and gradients are: down to 2 % of
    weights that are kept, that is no slower than to go from one to the next of these.

    Args:
        layers: all of one type, float32 or float64, on the CPU.
        momentum, decay, nesterov: as there; the decay is that of weights.
    """
    memory = [(*(tensor.data_ptr() for tensor in layer[:3]), layer.weight.numel()) for layer in layers]
    kind = np.float32 if layers and layers[0].weight.dtype == torch.float32 else np.float64
    rates = np.array([layer.rate for layer in layers], kind)
    arguments = np.array(memory, np.int64).reshape(-1, 4), rates, kind(momentum), kind(decay), nesterov
    by_threads(_descend, _descend_threads, arguments, torch.get_num_threads())


# Parts are slices, whose indices LLVM sees to be within them: only then it makes vectors of the loop.
# mypy cannot look into compiled functions.
@njit(nogil=True, cache=True)
def _share(memory, rates, momentum, decay, nesterov, part, parts):  # type: ignore[no-untyped-def]
    """The step for one of so many parts of each layer."""
    for layer in range(len(rates)):
        size, rate = memory[layer, 3], rates[layer]
        w, v = flat(memory[layer, 0], size, rates), flat(memory[layer, 1], size, rates)
        g = flat(memory[layer, 2], size, rates)
        first, last = size * part // parts, size * (part + 1) // parts
        w, v, g = w[first:last], v[first:last], g[first:last]
        for i in range(len(w)):
            slope = g[i] + decay * w[i]
            v[i] = momentum * v[i] + slope
            w[i] -= rate * (slope + momentum * v[i] if nesterov else v[i])


@njit(nogil=True, cache=True)
def _descend(memory, rates, momentum, decay, nesterov):  # type: ignore[no-untyped-def]
    _share(memory, rates, momentum, decay, nesterov, 0, 1)


@njit(nogil=True, cache=True, parallel=True)
def _descend_threads(memory, rates, momentum, decay, nesterov, threads):  # type: ignore[no-untyped-def]
    for part in prange(threads):
        _share(memory, rates, momentum, decay, nesterov, part, threads)
