"""Compiled kernels of batch norm, with the addition of a residual and ReLU in the same pass.

All work channel by channel on flat arrays of float32 or float64 in the layout of `spfde_exp.engine.layout`; a place is
(origin, plane, row) of one. A row is summed in vectors in the type of the numbers, rows and what follows in float64:
results are the same bits with any number of threads.
"""

from typing import Any

from numba import njit, prange

from spfde_exp.engine.kernels import set_threads
from spfde_exp.engine.sums import product_sum, row_sum, square_sum

__all__ = [
    "affine_of", "backward", "become_gradient", "channel_sums", "clear", "forward", "forward_channels", "merged",
    "open_relu", "row_moments", "row_of", "row_sums", "shift_and_slope", "write_gradient",
]  # fmt: skip


# Rows are slices, whose indices LLVM sees to be within them: only then it makes vectors of these loops.
# Without fastmath, so that ReLU is open on the way back where it was forward.
@njit(nogil=True, cache=True)
def _normalised(x, mean, scale, bias):  # type: ignore[no-untyped-def]
    return (x - mean) * scale + bias


@njit(nogil=True, cache=True)
def open_relu(out, g, other, y, x, affine, flags):  # type: ignore[no-untyped-def]
    """Gradient behind ReLU of a row."""
    two, relu, again = flags
    mean, scale, bias = affine
    zero = x.dtype.type(0)
    for i in range(len(x)):
        part = g[i] + other[i] if two else g[i]
        if relu:
            value = _normalised(x[i], mean, scale, bias) if again else y[i]
            part = zero if value <= 0 else part
        out[i] = part


@njit(nogil=True, cache=True)
def _write(out, x, residual, mean, scale, bias, add, relu):  # type: ignore[no-untyped-def]
    zero = x.dtype.type(0)
    if add:
        for i in range(len(x)):
            value = _normalised(x[i], mean, scale, bias) + residual[i]
            out[i] = zero if relu and value < 0 else value
    else:
        for i in range(len(x)):
            value = _normalised(x[i], mean, scale, bias)
            out[i] = zero if relu and value < 0 else value


@njit(nogil=True, cache=True)
def write_gradient(out, g, x, affine, shift, slope):  # type: ignore[no-untyped-def]
    """Gradient of the input of batch norm, of a row, from that behind ReLU."""
    mean, scale, _ = affine
    for i in range(len(x)):
        out[i] = scale * (g[i] - shift - slope * (x[i] - mean))


# Apart from the above, as what may overlap LLVM takes one by one.
@njit(nogil=True, cache=True)
def become_gradient(out, x, affine, shift, slope):  # type: ignore[no-untyped-def]
    """`write_gradient` from what `out` holds."""
    mean, scale, _ = affine
    for i in range(len(x)):
        out[i] = scale * (out[i] - shift - slope * (x[i] - mean))


@njit(nogil=True, cache=True)
def row_of(x, at, channel, line, length):  # type: ignore[no-untyped-def]
    """A row of `x`, whose place is `at`."""
    start = at[0] + channel * at[1] + line * at[2]
    return x[start : start + length]


@njit(nogil=True, cache=True)
def clear(x):  # type: ignore[no-untyped-def]
    zero = x.dtype.type(0)
    for i in range(len(x)):
        x[i] = zero


@njit(nogil=True, cache=True)
def _clear_border(x, at, channel, rows, length):  # type: ignore[no-untyped-def]
    """Zeros before the first row, behind the last, and from each row to the next."""
    origin, plane, row = at
    start = channel * plane
    if origin > 0:
        clear(x[start : start + origin])
        for h in range(rows - 1):
            clear(x[start + origin + h * row + length : start + origin + (h + 1) * row])
        clear(x[start + origin + (rows - 1) * row + length : start + plane])


@njit(nogil=True, cache=True, forceinline=True)
def row_moments(row):  # type: ignore[no-untyped-def]
    """Mean and variance of a row."""
    middle = row_sum(row) / len(row)
    return middle, square_sum(row, row.dtype.type(middle)) / len(row)


@njit(nogil=True, cache=True)
def merged(mean, variance, middle, spread, line):  # type: ignore[no-untyped-def]
    """Mean and variance of the rows up to `line`, from those of the rows before it and of that row.

    By the formula of Chan, Golub and LeVeque, which does not cancel.
    """
    share, distance = 1.0 / (line + 1), middle - mean
    variance += (spread - variance + distance * distance * (line * share)) * share
    return mean + distance * share, variance


@njit(nogil=True, cache=True, forceinline=True)
def affine_of(like, mean, variance, weight, bias, eps, channel):  # type: ignore[no-untyped-def]
    """Mean, factor and offset of a channel, in the type of `like`."""
    kind = like.dtype.type
    return kind(mean[channel]), kind(weight[channel] / (variance[channel] + eps) ** 0.5), kind(bias[channel])


@njit(nogil=True, cache=True, forceinline=True)
def forward_channels(  # type: ignore[no-untyped-def]
    out, out_at, x, x_at, residual, residual_at, shape, weight, bias, mean, variance, eps, flags, begin, end
):
    rows, length = shape
    training, add, relu = flags
    for c in range(begin, end):
        if training:
            mean[c], variance[c] = 0.0, 0.0
            for h in range(rows):
                moments = row_moments(row_of(x, x_at, c, h, length))
                mean[c], variance[c] = merged(mean[c], variance[c], *moments, h)
        middle, scale, offset = affine_of(x, mean, variance, weight, bias, eps, c)
        for h in range(rows):
            to, added = row_of(out, out_at, c, h, length), row_of(residual, residual_at, c, h, length)
            _write(to, row_of(x, x_at, c, h, length), added, middle, scale, offset, add, relu)
        _clear_border(out, out_at, c, rows, length)


@njit(nogil=True, cache=True, forceinline=True)
def row_sums(g, x, mean):  # type: ignore[no-untyped-def]
    """Sums over a row of a gradient, and of its products with the distances of `x` from the mean."""
    return row_sum(g), product_sum(g, x, mean)


@njit(nogil=True, cache=True, forceinline=True)
def channel_sums(  # type: ignore[no-untyped-def]
    opened, opened_at, g, g_at, other, other_at, y, y_at, x, x_at, shape, affine, flags, channel
):
    """Sums over a channel of the gradient behind ReLU, and of its products with the distances of `x` from the mean.

    That gradient is written to `opened`, all of whose rows may be one, unless it is `g` as it is; `affine` is of
    `affine_of`. The flags are those of `backward` (keep, relu, again), and `two`, the second, adds `other` to `g`.
    """
    rows, length = shape
    keep, two, relu, again = flags
    total, product = 0.0, 0.0
    for h in range(rows):
        g_row, x_row = row_of(g, g_at, channel, h, length), row_of(x, x_at, channel, h, length)
        part = g_row
        if keep or two or relu:
            part = row_of(opened, opened_at, channel, h, length)
            other_row, y_row = row_of(other, other_at, channel, h, length), row_of(y, y_at, channel, h, length)
            open_relu(part, g_row, other_row, y_row, x_row, affine, (two, relu, again))
        sums = row_sums(part, x_row, affine[0])
        total, product = total + sums[0], product + sums[1]
    return total, product


@njit(nogil=True, cache=True, forceinline=True)
def shift_and_slope(like, total, product, variance, eps, count, training):  # type: ignore[no-untyped-def]
    """What batch norm takes from a channel's gradient, all over and by the distance from the mean."""
    kind = like.dtype.type
    if not training:
        return kind(0), kind(0)
    deviation = (variance + eps) ** 0.5
    return kind(total / count), kind(product / (deviation * deviation * count))


@njit(nogil=True, cache=True, forceinline=True)
def _backward_channels(  # type: ignore[no-untyped-def]
    out, out_at, copy, copy_at, g, g_at, y, y_at, x, x_at, shape, weight, bias, weight_grad, bias_grad, mean, variance,
    eps, flags, begin, end,
):  # fmt: skip
    rows, length = shape
    training, keep, relu, again = flags
    opened, opened_at = (copy, copy_at) if keep else (out, out_at)
    for c in range(begin, end):
        affine = affine_of(x, mean, variance, weight, bias, eps, c)
        total, product = channel_sums(
            opened, opened_at, g, g_at, g, g_at, y, y_at, x, x_at, shape, affine, (keep, False, relu, again), c
        )
        weight_grad[c], bias_grad[c] = product / (variance[c] + eps) ** 0.5, total
        shift, slope = shift_and_slope(x, total, product, variance[c], eps, rows * length, training)
        for h in range(rows):
            to, x_row = row_of(out, out_at, c, h, length), row_of(x, x_at, c, h, length)
            if keep:
                write_gradient(to, row_of(copy, copy_at, c, h, length), x_row, affine, shift, slope)
            elif relu:
                become_gradient(to, x_row, affine, shift, slope)
            else:
                write_gradient(to, row_of(g, g_at, c, h, length), x_row, affine, shift, slope)
        _clear_border(out, out_at, c, rows, length)


@njit(nogil=True, cache=True, parallel=True)
def _forward_threads(  # type: ignore[no-untyped-def]
    out, out_at, x, x_at, residual, residual_at, shape, weight, bias, mean, variance, eps, flags, items, threads
):
    for i in prange(threads):
        forward_channels(
            out, out_at, x, x_at, residual, residual_at, shape, weight, bias, mean, variance, eps, flags,
            items * i // threads, items * (i + 1) // threads,
        )  # fmt: skip


@njit(nogil=True, cache=True, parallel=True)
def _backward_threads(  # type: ignore[no-untyped-def]
    out, out_at, copy, copy_at, g, g_at, y, y_at, x, x_at, shape, weight, bias, weight_grad, bias_grad, mean, variance,
    eps, flags, items, threads,
):  # fmt: skip
    for i in prange(threads):
        _backward_channels(
            out, out_at, copy, copy_at, g, g_at, y, y_at, x, x_at, shape, weight, bias, weight_grad, bias_grad, mean,
            variance, eps, flags, items * i // threads, items * (i + 1) // threads,
        )  # fmt: skip


def forward(*arguments: Any, channels: int, threads: int) -> None:
    """`out` = ReLU of (the normalised `x` + `residual`), each part where the flags say so.

    Args:
        arguments: out and its place, whose border is made zero, x and its place, residual and its place, (rows, length
            of a row), weight, bias, mean and variance [channels] of float64, which are written in training, eps, flags
            (training, add, relu).
    """
    _run(forward_channels, _forward_threads, arguments, channels, threads)


def backward(*arguments: Any, channels: int, threads: int) -> None:
    """Gradients of `forward`.

    Args:
        arguments: out and its place (of the input's gradient, whose border is made zero), copy and its place (of the
            residual's, written if the flag `keep` is set), g and its place (of the output's), y and its place (the
            output, read for ReLU), x and its place, (rows, length of a row), weight, bias, gradients of weight and bias
            [channels], mean, variance, eps, flags (training, keep, relu, again: whether the output is computed again in
            place of `y`, which goes without a residual).
    """
    _run(_backward_channels, _backward_threads, arguments, channels, threads)


def _run(one: Any, many: Any, arguments: tuple[Any, ...], channels: int, threads: int) -> None:
    if threads == 1 or channels == 1:
        one(*arguments, 0, channels)
    else:
        set_threads(threads)
        many(*arguments, channels, min(threads, channels))
