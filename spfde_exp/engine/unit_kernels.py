"""A convolution, batch norm, residual addition and ReLU by one call from Python.

Each call from Python and each tensor that it makes costs microseconds, and tens of them between kernels that have just
swept the caches: as much as a very sparse convolution itself. Tensors come as addresses here, shapes and places as
`Numbers` and offsets, which are made once.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from spfde_exp.engine import affine, kernels, norm_kernels
from spfde_exp.engine.memory import aligned, flat
from spfde_exp.engine.vectors import BYTES

__all__ = ["Numbers", "Tensors", "forward"]


class Numbers(NamedTuple):
    """Shapes, and where in memory each first number lies, and those of the next channel and image row.

    Flat, since compiled threads take no tuples of tuples.
    """

    channels: int  # of the result
    rows: int
    length: int  # of a row: width times batch
    inputs: int  # channels of x
    kernel: int
    border: int  # numbers on each side of a line of a ring
    back_lines: int  # of the ring on the way back
    weight_size: int
    x_size: int
    x_origin: int
    x_plane: int
    x_row: int
    out_size: int
    out_origin: int
    out_plane: int
    out_row: int
    residual_size: int
    residual_origin: int
    residual_plane: int
    residual_row: int


class Tensors(NamedTuple):
    """Addresses of tensors."""

    x: int
    weight: int
    z: int
    out: int  # or 0
    residual: int  # or 0
    scale: int
    bias: int
    running_mean: int
    running_variance: int
    batches: int  # a counter, int64, or 0


# The compiled functions take flat arrays and plain numbers; mypy cannot look into them.
@njit(nogil=True, cache=True)
def _fill_line(ring, x, before, shape, border, kernel, line):  # type: ignore[no-untyped-def]
    """Normalise a line of all channels of `x` into its place in the ring; zeros above and below the image."""
    inputs, rows, length = shape
    row = length + 2 * border
    start = (line + kernel // 2) % kernel * row + border
    for c in range(inputs):
        if 0 <= line < rows:
            at = (c * rows + line) * length
            for soon in range(at, at + length, BYTES // x.itemsize):
                kernels.fetch(x, soon + kernels.SOON * rows * length)
            affine.normalise_row(ring, start + c * kernel * row, x, at, length, before, c)
        else:
            norm_kernels.clear(ring[start + c * kernel * row : start + c * kernel * row + length])


@njit(nogil=True, cache=True)
def _convolve(  # type: ignore[no-untyped-def]
    values, offsets, bounds, ahead, before, moments, numbers, tensors, training, begin, end
):
    """Some items of z, and in training the moments [2, rows, channels] of their rows, which are in a near cache."""
    channels, rows, length = numbers.channels, numbers.rows, numbers.length
    x, z = flat(tensors.x, numbers.x_size, values), flat(tensors.z, channels * rows * length, values)
    blocks = kernels.count_items(channels, 1)
    inputs, border, kernel = numbers.inputs, numbers.border, numbers.kernel
    pending = before.shape[1] > 0
    shape, steps = (channels, rows, length), (0, rows * length, length, 0 if pending else numbers.x_row)
    ring = aligned(kernel * inputs * (length + 2 * border) if pending else 0, values)
    norm_kernels.clear(ring)
    read = ring if pending else x
    item = begin
    filled = item // blocks - kernel // 2
    while item < end:
        line = item // blocks
        last = min(end, (line + 1) * blocks)
        while pending and filled <= line + kernel // 2:
            _fill_line(ring, x, before, (inputs, rows, length), border, kernel, filled)
            filled += 1
        kernels.gather_items(z, read, offsets[line % len(offsets)], values, bounds, shape, steps, ahead, item, last)
        if training:
            first_channel = item % blocks * kernels.BLOCK
            for c in range(first_channel, min(channels, first_channel + (last - item) * kernels.BLOCK)):
                start = (c * rows + line) * length
                moments[0, line, c], moments[1, line, c] = norm_kernels.row_moments(z[start : start + length])
        item = last


@njit(nogil=True, cache=True)
def _normalise(  # type: ignore[no-untyped-def]
    like, moments, mean, variance, after, numbers, tensors, eps, momentum, training, relu, begin, end
):
    """The result for some channels, or `after`; their `mean` and `variance`; in training, their running statistics."""
    channels, rows, length = numbers.channels, numbers.rows, numbers.length
    out_at = numbers.out_origin, numbers.out_plane, numbers.out_row
    residual_at = numbers.residual_origin, numbers.residual_plane, numbers.residual_row
    running_mean = flat(tensors.running_mean, channels, like)
    running_variance = flat(tensors.running_variance, channels, like)
    for c in range(begin, end):
        if training:
            mean[c], variance[c] = 0.0, 0.0
            for h in range(rows):
                mean[c], variance[c] = norm_kernels.merged(mean[c], variance[c], moments[0, h, c], moments[1, h, c], h)
        else:
            mean[c], variance[c] = running_mean[c], running_variance[c]
    weight, bias = flat(tensors.scale, channels, like), flat(tensors.bias, channels, like)
    if tensors.out == 0:
        affine.keep_affine(after, mean, variance, weight, bias, eps, relu, begin, end)
    else:
        norm_kernels.forward_channels(
            flat(tensors.out, numbers.out_size, like), out_at,
            flat(tensors.z, channels * rows * length, like), (0, rows * length, length),
            flat(tensors.residual, numbers.residual_size, like), residual_at, (rows, length),
            weight, bias, mean, variance, eps, (False, tensors.residual != 0, relu), begin, end,
        )  # fmt: skip
    if training:
        count, kind = rows * length, like.dtype.type
        for c in range(begin, end):
            running_mean[c] += kind(momentum) * (kind(mean[c]) - running_mean[c])
            unbiased = kind(variance[c] * (count / (count - 1)))
            running_variance[c] += kind(momentum) * (unbiased - running_variance[c])


@njit(nogil=True, cache=True)
def _fill(values, places, numbers, tensors):  # type: ignore[no-untyped-def]
    """Values of the weight; one more batch is counted where there is a counter."""
    weight = flat(tensors.weight, numbers.weight_size, values)
    for k in range(len(values)):
        values[k] = weight[places[k]]
    if tensors.batches:
        flat(tensors.batches, 1, places)[0] += 1


@njit(nogil=True, cache=True)
def _forward(  # type: ignore[no-untyped-def]
    values, places, offsets, bounds, ahead, before, after, numbers, tensors, mean, variance, eps, momentum,
    training, relu,
):  # fmt: skip
    _fill(values, places, numbers, tensors)
    channels, rows = numbers.channels, numbers.rows
    moments = np.empty((2, rows, channels))
    items = kernels.count_items(channels, rows)
    _convolve(values, offsets, bounds, ahead, before, moments, numbers, tensors, training, 0, items)
    _normalise(values, moments, mean, variance, after, numbers, tensors, eps, momentum, training, relu, 0, channels)


@njit(nogil=True, cache=True, parallel=True)
def _forward_threads(  # type: ignore[no-untyped-def]
    values, places, offsets, bounds, ahead, before, after, numbers, tensors, mean, variance, eps, momentum,
    training, relu, threads,
):  # fmt: skip
    _fill(values, places, numbers, tensors)
    channels, rows = numbers.channels, numbers.rows
    moments = np.empty((2, rows, channels))
    items = kernels.count_items(channels, rows)
    for i in prange(threads):
        begin, end = items * i // threads, items * (i + 1) // threads
        _convolve(values, offsets, bounds, ahead, before, moments, numbers, tensors, training, begin, end)
    for i in prange(threads):
        begin, end = channels * i // threads, channels * (i + 1) // threads
        _normalise(values, moments, mean, variance, after, numbers, tensors, eps, momentum, training, relu, begin, end)


def forward(*arguments: Any, threads: int) -> None:
    """Fill `values` [non-zeros], `mean` and `variance` [channels], z and out; in training, move the running statistics.

    Args:
        arguments: values; places in the weight where they lie; offsets in x [1, non-zeros], bounds and ahead as for
            `spfde_exp.engine.kernels.gather`; before, [4, inputs], what `spfde_exp.engine.affine.normalise_row` is to
            make of x, which has no border then, while offsets [kernel, non-zeros] are in a ring of lines of the
            result, for one line of the output after the other; or before [4, 0]; after, [4, channels], filled in
            place of out, or [4, 0]; `Numbers`; `Tensors`; mean, variance, eps, momentum, training, relu.
    """
    kernels.by_threads(_forward, _forward_threads, arguments, threads)
