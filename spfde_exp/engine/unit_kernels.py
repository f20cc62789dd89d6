"""A convolution, batch norm, residual addition and ReLU by one call from Python, and one for all of their gradients.

Each call from Python and each tensor that it makes costs microseconds, and tens of them between kernels that have just
swept the caches: as much as a very sparse convolution itself. Tensors come as addresses here, geometry as arrays that
are made once.
"""

from typing import Any

import numba
import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from spfde_exp.engine import kernels, norm_kernels

__all__ = ["backward", "forward"]


@intrinsic
def _pointer(_: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), generate


@njit(nogil=True, cache=True)
def _flat(address, size, like):  # type: ignore[no-untyped-def]
    """The `size` numbers at `address`, of the type of `like`; none where the address is 0."""
    return numba.carray(_pointer(address), (size if address else 0,), like.dtype)


# The compiled functions take flat arrays and plain numbers; mypy cannot look into them.
@njit(nogil=True, cache=True)
def forward(  # type: ignore[no-untyped-def]
    values, places, offsets, bounds, numbers, addresses, mean, variance, eps, momentum, training, relu
):
    """Fill `values` [non-zeros], `mean` and `variance` [channels], z and out; in training, move the running statistics.

    Args:
        places: where in the weight the values lie.
        offsets, bounds: as for `spfde_exp.engine.kernels.gather`.
        numbers: channels, rows and length of the output, row of x, sizes of weight, x, out and residual, and origin,
            plane and row of out and of the residual.
        addresses: of x, weight, z, out, residual (or 0), and of scale, bias, running mean and variance of batch norm.
    """
    channels, rows, length, x_row, weight_size, x_size, out_size, residual_size = numbers[:8]
    out_at = numbers[8], numbers[9], numbers[10]
    residual_at = numbers[11], numbers[12], numbers[13]
    weight = _flat(addresses[1], weight_size, values)
    for k in range(len(values)):
        values[k] = weight[places[k]]
    x, z = _flat(addresses[0], x_size, values), _flat(addresses[2], channels * rows * length, values)
    z_at = 0, rows * length, length
    per_row = kernels.count_items(channels, 1, length, x.itemsize)
    mean[:] = 0
    variance[:] = 0
    for h in range(rows):
        kernels.gather_items(
            z, x, offsets, values, bounds, (channels, rows, length), (0, rows * length, length, x_row),
            h * per_row, (h + 1) * per_row,
        )  # fmt: skip
        if training:  # while the row is in a near cache
            norm_kernels.add_moments(mean, variance, z, z_at, h, length)
    running_mean, running_variance = _flat(addresses[7], channels, values), _flat(addresses[8], channels, values)
    if not training:
        for c in range(channels):
            mean[c], variance[c] = running_mean[c], running_variance[c]
    norm_kernels.forward_channels(
        _flat(addresses[3], out_size, values), out_at, z, z_at, _flat(addresses[4], residual_size, values), residual_at,
        (rows, length), _flat(addresses[5], channels, values), _flat(addresses[6], channels, values),
        mean, variance, eps, (False, addresses[4] != 0, relu), 0, channels,
    )  # fmt: skip
    if training:
        count, kind = rows * length, values.dtype.type
        for c in range(channels):
            running_mean[c] += kind(momentum) * (kind(mean[c]) - running_mean[c])
            unbiased = kind(variance[c] * (count / (count - 1)))
            running_variance[c] += kind(momentum) * (unbiased - running_variance[c])


@njit(nogil=True, cache=True)
def backward(  # type: ignore[no-untyped-def]
    values, places, position, offsets, bounds, x_offsets, first, size, channel, numbers, addresses, norm_grads,
    mean, variance, eps, training, relu,
):  # fmt: skip
    """Fill the gradients of x, of the residual, of the weight where its values lie, and `norm_grads` [2, channels].

    Args:
        values, places, mean, variance: of `forward`.
        position: of the transposed non-zeros in `values`; offsets and bounds are theirs.
        x_offsets, first, size, channel: as for `spfde_exp.engine.kernels.dots`.
        numbers: channels, rows and length, row of x, sizes of weight, x, out, the gradient, another one, and that of z,
            channels of x, and origin, plane and row of the gradient, of the other, of out and of the gradient of z.
        addresses: of the gradient, out (or 0, to compute again where ReLU is open, without a residual), z, x, scale; of
            the gradients of z, x (or 0), residual (or 0), weight (or 0); of another gradient to add (or 0), and bias.
    """
    channels, rows, length, x_row, weight_size, x_size, out_size, g_size, other_size, z_size, sources = numbers[:11]
    g_at = numbers[11], numbers[12], numbers[13]
    other_at = numbers[14], numbers[15], numbers[16]
    out_at = numbers[17], numbers[18], numbers[19]
    z_grad_at = numbers[20], numbers[21], numbers[22]
    inside = rows * length
    plain = 0, inside, length
    g, other = _flat(addresses[0], g_size, values), _flat(addresses[9], other_size, values)
    out = _flat(addresses[1], out_size, values)
    z, x = _flat(addresses[2], channels * inside, values), _flat(addresses[3], x_size, values)
    z_grad = _flat(addresses[5], z_size, values)
    residual_grad = _flat(addresses[7], channels * inside, values)
    norm_kernels.backward_channels(
        z_grad, z_grad_at, residual_grad, plain, g, g_at, other, other_at, out, out_at, z, plain, (rows, length),
        _flat(addresses[4], channels, values), _flat(addresses[10], channels, values), norm_grads[0], norm_grads[1],
        mean, variance, eps, (training, addresses[7] != 0, addresses[9] != 0, relu, addresses[1] == 0), 0, channels,
    )  # fmt: skip
    if addresses[6]:
        transposed = values[position]
        items = kernels.count_items(sources, rows, length, x.itemsize)
        kernels.gather_items(
            _flat(addresses[6], sources * inside, values), z_grad, offsets, transposed, bounds,
            (sources, rows, length), (0, inside, length, z_grad_at[2]), 0, items,
        )  # fmt: skip
    if addresses[8]:
        sums = np.zeros(len(values))
        kernels.dots_items(
            sums, z_grad, x, x_offsets, first, size, channel, (rows, length), (*z_grad_at, x_row), 0, len(first)
        )
        weight_grad = _flat(addresses[8], weight_size, values)
        for k in range(len(values)):
            weight_grad[places[k]] = sums[k]
