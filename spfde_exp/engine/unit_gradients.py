"""All gradients of a convolution, batch norm, residual addition and ReLU by one call from Python.

The gradient of the result of the convolution, which both gradients of the convolution are made of, is made line by
line in a ring, as what the forward pass reads (`spfde_exp.engine.unit_kernels`), unless it is small.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from spfde_exp.engine import gradients, kernels, norm_kernels
from spfde_exp.engine.memory import aligned, flat
from spfde_exp.engine.vectors import BYTES

__all__ = ["BackNumbers", "BackTensors", "backward"]


class BackNumbers(NamedTuple):
    """Where gradients lie that come from elsewhere, as `spfde_exp.engine.unit_kernels.Numbers` of all else."""

    g_size: int
    g_origin: int
    g_plane: int
    g_row: int
    other_size: int
    other_origin: int
    other_plane: int
    other_row: int
    added_size: int
    added_origin: int
    added_plane: int
    added_row: int


class BackTensors(NamedTuple):
    """Addresses of tensors."""

    g: int  # the gradient of the result
    out: int  # the result, or 0, to compute again where ReLU is open, without a residual
    z: int
    x: int
    scale: int
    x_grad: int  # or 0, for neither it nor that of the weight
    residual_grad: int  # or 0
    weight_grad: int  # or 0
    other: int  # a gradient to add to `g`, or 0
    bias: int
    added: int  # what is added to the gradient of x, or 0


# The compiled functions take flat arrays and plain numbers; mypy cannot look into them.
@njit(nogil=True, cache=True, forceinline=True)
def _given(like, numbers, back, tensors):  # type: ignore[no-untyped-def]
    """The gradient, the other one, the result and z, each with its place."""
    size, plane = numbers.channels * numbers.rows * numbers.length, numbers.rows * numbers.length
    return (
        (flat(tensors.g, back.g_size, like), (back.g_origin, back.g_plane, back.g_row)),
        (flat(tensors.other, back.other_size, like), (back.other_origin, back.other_plane, back.other_row)),
        (flat(tensors.out, numbers.out_size, like), (numbers.out_origin, numbers.out_plane, numbers.out_row)),
        (flat(tensors.z, size, like), (0, plane, numbers.length)),
    )


@njit(nogil=True, cache=True)
def _norm_gradients(  # type: ignore[no-untyped-def]
    like, known, numbers, back, tensors, norm_grads, slopes, mean, variance, eps, training, relu, begin, end
):
    """For some channels, gradients of batch norm and of the residual; and `slopes`, as `_fill_lines` takes them."""
    channels, rows, length = numbers.channels, numbers.rows, numbers.length
    (g, g_at), (other, other_at), (y, out_at), (z, plain) = _given(like, numbers, back, tensors)
    weight, bias = flat(tensors.scale, channels, like), flat(tensors.bias, channels, like)
    keep = tensors.residual_grad != 0
    residual_grad, row = flat(tensors.residual_grad, channels * rows * length, like), np.empty(length, like.dtype)
    opened, opened_at = (residual_grad, plain) if keep else (row, (0, 0, 0))
    flags = keep, tensors.other != 0, relu, tensors.out == 0
    for c in range(begin, end):
        affine = norm_kernels.affine_of(like, mean, variance, weight, bias, eps, c)
        total, product = 0.0, 0.0
        if known.shape[1] > 0:
            for h in range(rows):
                total += known[0, h, c]
                product += known[1, h, c]
        else:
            total, product = norm_kernels.channel_sums(
                opened, opened_at, g, g_at, other, other_at, y, out_at, z, plain, (rows, length), affine, flags, c
            )
        norm_grads[0, c], norm_grads[1, c] = product / (variance[c] + eps) ** 0.5, total
        slopes[0, c], slopes[1, c], slopes[2, c] = affine
        slopes[3, c], slopes[4, c] = norm_kernels.shift_and_slope(
            like, total, product, variance[c], eps, rows * length, training
        )


@njit(nogil=True, cache=True)
def _fill_lines(  # type: ignore[no-untyped-def]
    ring, slopes, numbers, back, tensors, relu, first, stop, begin, end
):
    """Some lines of the gradient of z, of some channels, into their places in the ring; zeros around the image.

    `slopes`, [5, channels], are the mean, factor and offset of the batch norm, and what it takes from its gradient.
    """
    rows, length, border, lines = numbers.rows, numbers.length, numbers.border, numbers.back_lines
    row = length + 2 * border
    (g, g_at), (other, other_at), (y, out_at), (z, plain) = _given(ring, numbers, back, tensors)
    padding, two, again = numbers.kernel // 2, tensors.other != 0, tensors.out == 0
    if tensors.residual_grad:  # it is behind ReLU already, as the gradient of the residual
        g, g_at, two, relu = flat(tensors.residual_grad, len(z), ring), plain, False, False
    for c in range(begin, end):
        affine, shift, slope = (slopes[0, c], slopes[1, c], slopes[2, c]), slopes[3, c], slopes[4, c]
        for line in range(first, stop):
            start = (c * lines + (line + padding) % lines) * row
            norm_kernels.clear(ring[start : start + border])
            norm_kernels.clear(ring[start + border + length : start + row])
            to = ring[start + border : start + border + length]
            if not 0 <= line < rows:
                norm_kernels.clear(to)
                continue
            g_start, z_start = g_at[0] + c * g_at[1] + line * g_at[2], (c * rows + line) * length
            for soon in range(0, length, BYTES // z.itemsize):
                kernels.fetch(g, g_start + kernels.SOON * g_at[1] + soon)
                kernels.fetch(z, z_start + kernels.SOON * rows * length + soon)
            g_row, z_row = norm_kernels.row_of(g, g_at, c, line, length), norm_kernels.row_of(z, plain, c, line, length)
            if two or relu:
                other_row = norm_kernels.row_of(other, other_at, c, line, length)
                y_row = norm_kernels.row_of(y, out_at, c, line, length)
                norm_kernels.open_relu(to, g_row, other_row, y_row, z_row, affine, (two, relu, again))
                norm_kernels.become_gradient(to, z_row, affine, shift, slope)
            else:
                norm_kernels.write_gradient(to, g_row, z_row, affine, shift, slope)


@njit(nogil=True, cache=True)
def _room(like, numbers):  # type: ignore[no-untyped-def]
    """For all lines of the gradient of z, if these are to be there at once."""
    lines, row = numbers.rows + numbers.kernel - 1, numbers.length + 2 * numbers.border
    return aligned(numbers.channels * lines * row if numbers.back_lines == lines else 0, like)


@njit(nogil=True, cache=True)
def _convolve(  # type: ignore[no-untyped-def]
    transposed, offsets, bounds, sums, before, found, whole, slopes, numbers, back, tensors, relu, through, begin, end
):
    """Some items of both gradients of the convolution; of their rows of that of x, what its batch norm asks for.

    That is `found`, [2, rows, channels of x], while they are in a near cache. `whole` has all lines of the gradient of
    z, or is empty.
    """
    channels, rows, length, inputs = numbers.channels, numbers.rows, numbers.length, numbers.inputs
    border, kernel = numbers.border, numbers.kernel
    x, x_at = flat(tensors.x, numbers.x_size, transposed), (numbers.x_origin, numbers.x_plane, numbers.x_row)
    x_grad, plain = flat(tensors.x_grad, inputs * rows * length, transposed), (0, rows * length, length)
    added = flat(tensors.added, back.added_size, transposed)
    added_at = back.added_origin, back.added_plane, back.added_row
    blocks, at_once = kernels.count_items(inputs, 1), gradients.lines_at_once(rows, length)
    row, ring = length + 2 * border, whole
    if len(whole) == 0:
        ring = aligned(channels * numbers.back_lines * row, transposed)
    ring_row = row if len(whole) > 0 else 0  # offsets are those of the first line, or of each
    item = begin
    filled = item // blocks * at_once - kernel // 2
    while item < end:
        first = item // blocks * at_once
        last, stop = min(end, (item // blocks + 1) * blocks), min(rows, first + at_once)
        if len(whole) == 0:
            _fill_lines(ring, slopes, numbers, back, tensors, relu, filled, stop + kernel // 2, 0, channels)
        filled = stop + kernel // 2
        gradients.both_items(
            x_grad, transposed, offsets, bounds, sums, ring, x, before, added, added_at, through,
            (inputs, rows, length), (*x_at, ring_row), (0, 0, 0), item, last,
        )  # fmt: skip
        if found.shape[1] > 0:
            those = item % blocks * kernels.BLOCK
            for c in range(those, min(inputs, those + (last - item) * kernels.BLOCK)):
                for h in range(first, stop):
                    g_row = norm_kernels.row_of(x_grad, plain, c, h, length)
                    z_row = norm_kernels.row_of(x, x_at, c, h, length)
                    found[0, h, c], found[1, h, c] = norm_kernels.row_sums(g_row, z_row, before[0, c])
        item = last


@njit(nogil=True, cache=True)
def _scatter(sums, places, numbers, tensors, like):  # type: ignore[no-untyped-def]
    """Gradients of the weights at `places`: what the chunks, [chunks, non-zeros], sum up to."""
    weight_grad = flat(tensors.weight_grad, numbers.weight_size, like)
    for k in range(len(places)):
        total = sums[0, k]
        for chunk in range(1, len(sums)):
            total += sums[chunk, k]
        weight_grad[places[k]] = total


@njit(nogil=True, cache=True)
def _backward(  # type: ignore[no-untyped-def]
    values, places, position, bounds, offsets, before, known, found, numbers, back, tensors, norm_grads, mean,
    variance, eps, training, relu, through,
):  # fmt: skip
    channels, rows, length = numbers.channels, numbers.rows, numbers.length
    slopes = np.empty((5, channels), values.dtype)
    _norm_gradients(
        values, known, numbers, back, tensors, norm_grads, slopes, mean, variance, eps, training, relu, 0, channels
    )
    if tensors.x_grad:
        items = gradients.count_chunks(rows, length) * kernels.count_items(numbers.inputs, 1)
        sums, whole, padding = np.zeros((1, len(values))), _room(values, numbers), numbers.kernel // 2
        if len(whole) > 0:
            _fill_lines(whole, slopes, numbers, back, tensors, relu, -padding, rows + padding, 0, channels)
        _convolve(
            values[position], offsets, bounds, sums, before, found, whole, slopes, numbers, back, tensors, relu,
            through, 0, items,
        )  # fmt: skip
        if tensors.weight_grad:
            _scatter(sums, places, numbers, tensors, values)


@njit(nogil=True, cache=True, parallel=True)
def _backward_threads(  # type: ignore[no-untyped-def]
    values, places, position, bounds, offsets, before, known, found, numbers, back, tensors, norm_grads, mean,
    variance, eps, training, relu, through, threads,
):  # fmt: skip
    channels, rows, length = numbers.channels, numbers.rows, numbers.length
    slopes = np.empty((5, channels), values.dtype)
    for i in prange(threads):
        begin, end = channels * i // threads, channels * (i + 1) // threads
        _norm_gradients(
            values, known, numbers, back, tensors, norm_grads, slopes, mean, variance, eps, training, relu, begin, end
        )
    if tensors.x_grad:
        chunks, transposed = gradients.count_chunks(rows, length), values[position]
        items, sums = chunks * kernels.count_items(numbers.inputs, 1), np.zeros((chunks, len(values)))
        whole, padding = _room(values, numbers), numbers.kernel // 2
        if len(whole) > 0:
            for i in prange(threads):
                begin, end = channels * i // threads, channels * (i + 1) // threads
                _fill_lines(whole, slopes, numbers, back, tensors, relu, -padding, rows + padding, begin, end)
        for i in prange(threads):
            begin, end = items * i // threads, items * (i + 1) // threads
            _convolve(
                transposed, offsets, bounds, sums, before, found, whole, slopes, numbers, back, tensors, relu,
                through, begin, end,
            )  # fmt: skip
        if tensors.weight_grad:
            _scatter(sums, places, numbers, tensors, values)


def backward(*arguments: Any, threads: int) -> None:
    """Fill the gradients of x, of the residual, of the weight where its values lie, and `norm_grads` [2, channels].

    Args:
        arguments: values of `spfde_exp.engine.unit_kernels.forward`; of the transposed non-zeros, places in the weight,
            position in values, and bounds; offsets of theirs in a ring of lines of the gradient of z, for one line of x
            after the other, [lines, non-zeros], or of the first, [1, non-zeros], where the ring has all lines; before
            as in `forward`; known and found, [2, rows, channels] of the result and of x, or [2, 0, 0]: sums over each
            row of the gradient, and of its products with the distance of z, or x, from the mean; numbers of `forward`;
            `BackNumbers`; `BackTensors`; norm_grads; mean, variance, eps and training of `forward`; relu: whether zeros
            are to be written where ReLU is shut; through: whether the gradient of x is zero where x is not positive,
            and something may be added to it.
    """
    kernels.by_threads(_backward, _backward_threads, arguments, threads)
