"""Batch norm and ReLU of a row, made again from the result of a convolution wherever it is read.

Rounded as `spfde_exp.engine.norm_kernels.forward_channels` does.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from spfde_exp.engine.norm_kernels import affine_of
from spfde_exp.engine.vectors import BYTES, Vectors

__all__ = ["keep_affine", "normalise_row"]


@intrinsic
def _whole_vectors(_: Any, out: Any, to: Any, x: Any, start: Any, whole: Any, affine: Any) -> Any:
    """Normalise `whole` numbers, a multiple of the lanes of a vector, by (mean, scale, bias, lowest)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emitted = Vectors(context, builder, signature.args[0].dtype)
        out, x = (builder.gep(emitted.data(signature.args[i], arguments[i]), [arguments[i + 1]]) for i in (0, 2))
        whole = arguments[4]
        mean, scale, bias, lowest = (emitted.splat(v) for v in cgutils.unpack_tuple(builder, arguments[5], 4))
        index = whole.type
        with cgutils.for_range_slice(builder, index(0), whole, index(emitted.lanes), inc=True) as (i, _):
            distance = builder.fsub(emitted.load(builder.gep(x, [i])), mean)
            value = builder.fadd(builder.fmul(distance, scale), bias)
            opened = builder.select(builder.fcmp_ordered("<", value, lowest), lowest, value)
            emitted.store(opened, builder.gep(out, [i]))
        return context.get_dummy_value()

    return types.void(out, types.intp, x, types.intp, types.intp, affine), generate


# mypy cannot look into compiled functions.
@njit(nogil=True, cache=True)
def keep_affine(affine, mean, variance, weight, bias, eps, relu, begin, end):  # type: ignore[no-untyped-def]
    """What `normalise_row` is told of some channels, in `affine` [4, channels]: mean, scale, bias, lowest value."""
    for c in range(begin, end):
        affine[0, c], affine[1, c], affine[2, c] = affine_of(affine, mean, variance, weight, bias, eps, c)
        affine[3, c] = 0.0 if relu else -np.inf


@njit(nogil=True, cache=True, forceinline=True)
def normalise_row(out, to, x, start, length, affine, channel):  # type: ignore[no-untyped-def]
    """out[to:] = x[start:] of a channel, normalised, for so many numbers."""
    mean, scale, bias, lowest = affine[0, channel], affine[1, channel], affine[2, channel], affine[3, channel]
    lanes = BYTES // x.itemsize
    whole = length // lanes * lanes
    _whole_vectors(out, to, x, start, whole, (mean, scale, bias, lowest))
    for i in range(whole, length):
        value = (x[start + i] - mean) * scale + bias
        out[to + i] = lowest if value < lowest else value
