"""All gradients of a convolution, batch norm, residual addition and ReLU by one call from Python.

The gradient of the result of the convolution, which both gradients of the convolution are made of, is made line by
line in a ring, as what the forward pass reads (`spfde_exp.engine.unit_kernels`), unless it is small.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from spfde_exp.engine import gradients, kernels, norm_kernels
from spfde_exp.engine.memory import aligned, flat
from spfde_exp.engine.vectors import BYTES

__all__ = ["backward"]


# The compiled functions take flat arrays and plain numbers; mypy cannot look into them.
@njit(nogil=True, cache=True)
def _norm_gradients(  # type: ignore[no-untyped-def]
    like, known, numbers, addresses, norm_grads, slopes, mean, variance, eps, training, relu, begin, end
):
    """For some channels, gradients of batch norm and of the residual; and `slopes`, as `_fill_lines` takes them."""
    channels, rows, length, _, _, _, out_size, g_size, other_size = numbers[:9]
    g_at, other_at = (numbers[10], numbers[11], numbers[12]), (numbers[13], numbers[14], numbers[15])
    out_at, plain = (numbers[16], numbers[17], numbers[18]), (0, rows * length, length)
    g, other = flat(addresses[0], g_size, like), flat(addresses[8], other_size, like)
    y, z = flat(addresses[1], out_size, like), flat(addresses[2], channels * rows * length, like)
    weight, bias = flat(addresses[4], channels, like), flat(addresses[9], channels, like)
    keep = addresses[6] != 0
    residual_grad, row = flat(addresses[6], channels * rows * length, like), np.empty(length, like.dtype)
    opened, opened_at = (residual_grad, plain) if keep else (row, (0, 0, 0))
    flags = keep, addresses[8] != 0, relu, addresses[1] == 0
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
def _fill_lines(ring, slopes, numbers, addresses, relu, first, stop, begin, end):  # type: ignore[no-untyped-def]
    """Some lines of the gradient of z, of some channels, into their places in the ring; zeros around the image.

    `slopes`, [5, channels], are the mean, factor and offset of the batch norm, and what it takes from its gradient.
    """
    channels, rows, length, _, _, _, out_size, g_size, other_size = numbers[:9]
    border, lines = numbers[25], numbers[27]
    size, row = channels * rows * length, length + 2 * border
    g, other = flat(addresses[0], g_size, ring), flat(addresses[8], other_size, ring)
    y, z = flat(addresses[1], out_size, ring), flat(addresses[2], size, ring)
    plain, out_at = (0, rows * length, length), (numbers[16], numbers[17], numbers[18])
    g_at, other_at = (numbers[10], numbers[11], numbers[12]), (numbers[13], numbers[14], numbers[15])
    padding, two, again = numbers[26] // 2, addresses[8] != 0, addresses[1] == 0
    if addresses[6]:  # it is behind ReLU already, as the gradient of the residual
        g, g_at, two, relu = flat(addresses[6], size, ring), plain, False, False
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
    channels, rows, length = numbers[:3]
    border, kernel, lines = numbers[25], numbers[26], numbers[27]
    return aligned(channels * lines * (length + 2 * border) if lines == rows + kernel - 1 else 0, like)


@njit(nogil=True, cache=True)
def _convolve(  # type: ignore[no-untyped-def]
    transposed, offsets, bounds, sums, before, found, whole, slopes, numbers, addresses, relu, through, begin, end
):
    """Some items of both gradients of the convolution; of their rows of that of x, what its batch norm asks for.

    That is `found`, [2, rows, channels of x], while they are in a near cache. `whole` has all lines of the gradient of
    z, or is empty.
    """
    channels, rows, length, x_row, _, x_size = numbers[:6]
    sources, border, kernel = numbers[9], numbers[25], numbers[26]
    x, x_at = flat(addresses[3], x_size, transposed), (numbers[19], numbers[20], x_row)
    x_grad, plain = flat(addresses[5], sources * rows * length, transposed), (0, rows * length, length)
    passed, passed_at = flat(addresses[10], numbers[21], transposed), (numbers[22], numbers[23], numbers[24])
    blocks, at_once = kernels.count_items(sources, 1), gradients.lines_at_once(rows, length)
    row, ring = length + 2 * border, whole
    if len(whole) == 0:
        ring = aligned(channels * numbers[27] * row, transposed)
    ring_row = row if len(whole) > 0 else 0  # offsets are those of the first line, or of each
    item = begin
    filled = item // blocks * at_once - kernel // 2
    while item < end:
        first = item // blocks * at_once
        last, stop = min(end, (item // blocks + 1) * blocks), min(rows, first + at_once)
        if len(whole) == 0:
            _fill_lines(ring, slopes, numbers, addresses, relu, filled, stop + kernel // 2, 0, channels)
        filled = stop + kernel // 2
        gradients.both_items(
            x_grad, transposed, offsets, bounds, sums, ring, x, before, passed, passed_at, through,
            (sources, rows, length), (*x_at, ring_row), (0, 0, 0), item, last,
        )  # fmt: skip
        if found.shape[1] > 0:
            those = item % blocks * kernels.BLOCK
            for c in range(those, min(sources, those + (last - item) * kernels.BLOCK)):
                for h in range(first, stop):
                    g_row = norm_kernels.row_of(x_grad, plain, c, h, length)
                    z_row = norm_kernels.row_of(x, x_at, c, h, length)
                    found[0, h, c], found[1, h, c] = norm_kernels.row_sums(g_row, z_row, before[0, c])
        item = last


@njit(nogil=True, cache=True)
def _scatter(sums, places, numbers, addresses, like):  # type: ignore[no-untyped-def]
    """Gradients of the weights at `places`: what the chunks, [chunks, non-zeros], sum up to."""
    weight_grad = flat(addresses[7], numbers[4], like)
    for k in range(len(places)):
        total = sums[0, k]
        for chunk in range(1, len(sums)):
            total += sums[chunk, k]
        weight_grad[places[k]] = total


@njit(nogil=True, cache=True)
def _backward(  # type: ignore[no-untyped-def]
    values, places, position, bounds, offsets, before, known, found, numbers, addresses, norm_grads, mean, variance,
    eps, training, relu, through,
):  # fmt: skip
    channels, rows, length = numbers[:3]
    slopes = np.empty((5, channels), values.dtype)
    _norm_gradients(
        values, known, numbers, addresses, norm_grads, slopes, mean, variance, eps, training, relu, 0, channels
    )
    if addresses[5]:
        items = gradients.count_chunks(rows, length) * kernels.count_items(numbers[9], 1)
        sums, whole, padding = np.zeros((1, len(values))), _room(values, numbers), numbers[26] // 2
        if len(whole) > 0:
            _fill_lines(whole, slopes, numbers, addresses, relu, -padding, rows + padding, 0, channels)
        _convolve(
            values[position], offsets, bounds, sums, before, found, whole, slopes, numbers, addresses, relu, through,
            0, items,
        )  # fmt: skip
        if addresses[7]:
            _scatter(sums, places, numbers, addresses, values)


@njit(nogil=True, cache=True, parallel=True)
def _backward_threads(  # type: ignore[no-untyped-def]
    values, places, position, bounds, offsets, before, known, found, numbers, addresses, norm_grads, mean, variance,
    eps, training, relu, through, threads,
):  # fmt: skip
    channels, rows, length = numbers[:3]
    slopes = np.empty((5, channels), values.dtype)
    for i in prange(threads):
        begin, end = channels * i // threads, channels * (i + 1) // threads
        _norm_gradients(
            values, known, numbers, addresses, norm_grads, slopes, mean, variance, eps, training, relu, begin, end
        )
    if addresses[5]:
        chunks, transposed = gradients.count_chunks(rows, length), values[position]
        items, sums = chunks * kernels.count_items(numbers[9], 1), np.zeros((chunks, len(values)))
        whole, padding = _room(values, numbers), numbers[26] // 2
        if len(whole) > 0:
            for i in prange(threads):
                begin, end = channels * i // threads, channels * (i + 1) // threads
                _fill_lines(whole, slopes, numbers, addresses, relu, -padding, rows + padding, begin, end)
        for i in prange(threads):
            begin, end = items * i // threads, items * (i + 1) // threads
            _convolve(
                transposed, offsets, bounds, sums, before, found, whole, slopes, numbers, addresses, relu, through,
                begin, end,
            )  # fmt: skip
        if addresses[7]:
            _scatter(sums, places, numbers, addresses, values)


def backward(*arguments: Any, threads: int) -> None:
    """Fill the gradients of x, of the residual, of the weight where its values lie, and `norm_grads` [2, channels].

    Args:
        arguments: values of `spfde_exp.engine.unit_kernels.forward`; of the transposed non-zeros, places in the weight,
            position in values, and bounds; offsets of theirs in a ring of lines of the gradient of z, for one line of
            x after the other, [lines, non-zeros], or of the first, [1, non-zeros], where the ring has all lines;
            before as in `forward`; known and found, [2, rows, channels] of the result and of x, or [2, 0, 0]: sums over
            each row of the gradient, and of its products with the distance of z, or x, from the mean; numbers:
            channels, rows and length, row of x, sizes of weight, x, out, the gradient and another one, channels of x,
            origin, plane and row of the gradient, of the other, and of out, origin and plane of x, size, origin, plane
            and row of what is added to the gradient of x, numbers in the border of a line, kernel, and lines of the
            ring; addresses of the gradient, out (or 0, to compute again where ReLU is open, without a residual), z, x,
            scale, of the gradients of x (or 0, for neither it nor that of the weight), residual (or 0), weight (or 0),
            of another gradient to add (or 0), of bias, and of what is added to the gradient of x (or 0); norm_grads;
            mean, variance, eps and training of `forward`; relu: whether zeros are to be written where ReLU is shut;
            through: whether the gradient of x is zero where x is not positive, and something may be added to it.
    """
    kernels.by_threads(_backward, _backward_threads, arguments, threads)
