"""Compiled kernels of batch norm, with the addition of a residual and ReLU in the same pass.

All work channel by channel on flat arrays of float32 or float64 in the layout of `spfde_exp.engine.layout`; a place is
(origin, plane, row) of one. A row is summed in vectors in the type of the numbers, rows and what follows in float64:
results are the same bits with any number of threads.
"""

from typing import Any

from numba import njit, prange

from spfde_exp.engine.kernels import set_threads

__all__ = ["backward", "forward"]

# Sums may be taken in another order, as vectors need it; NaN and infinities stay what they are.
_SUM = {"reassoc", "contract", "nsz"}


# Rows are slices, whose indices LLVM sees to be within them: only then it makes vectors of these loops.
@njit(nogil=True, cache=True, fastmath=_SUM)
def _sum(x):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for i in range(len(x)):
        total += x[i]
    return total


@njit(nogil=True, cache=True, fastmath=_SUM)
def _squares(x, mean):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for i in range(len(x)):
        total += (x[i] - mean) * (x[i] - mean)
    return total


@njit(nogil=True, cache=True, fastmath=_SUM)
def _gradient_sums(g, y, x, mean, relu):  # type: ignore[no-untyped-def]
    """Sums over a row of the gradient behind ReLU, and of its products with the centred input."""
    zero = x.dtype.type(0)
    total, product = zero, zero
    for i in range(len(x)):
        part = zero if relu and y[i] <= 0 else g[i]
        total += part
        product += part * (x[i] - mean)
    return total, product


@njit(nogil=True, cache=True)
def _write(out, x, residual, mean, scale, bias, add, relu):  # type: ignore[no-untyped-def]
    zero = x.dtype.type(0)
    if add:
        for i in range(len(x)):
            value = (x[i] - mean) * scale + bias + residual[i]
            out[i] = zero if relu and value < 0 else value
    else:
        for i in range(len(x)):
            value = (x[i] - mean) * scale + bias
            out[i] = zero if relu and value < 0 else value


@njit(nogil=True, cache=True)
def _write_gradient(out, g, y, x, mean, scale, shift, slope, relu):  # type: ignore[no-untyped-def]
    """scale * (gradient behind ReLU - shift - slope * centred input)."""
    zero = x.dtype.type(0)
    for i in range(len(x)):
        part = zero if relu and y[i] <= 0 else g[i]
        out[i] = scale * (part - shift - slope * (x[i] - mean))


@njit(nogil=True, cache=True)
def _write_masked(out, g, y, relu):  # type: ignore[no-untyped-def]
    """The gradient behind ReLU."""
    zero = g.dtype.type(0)
    for i in range(len(g)):
        out[i] = zero if relu and y[i] <= 0 else g[i]


@njit(nogil=True, cache=True)
def _row(x, at, channel, line, length):  # type: ignore[no-untyped-def]
    start = at[0] + channel * at[1] + line * at[2]
    return x[start : start + length]


@njit(nogil=True, cache=True)
def _clear(x):  # type: ignore[no-untyped-def]
    zero = x.dtype.type(0)
    for i in range(len(x)):
        x[i] = zero


@njit(nogil=True, cache=True)
def _clear_border(x, at, channel, rows, length):  # type: ignore[no-untyped-def]
    """Zeros before the first row, behind the last, and from each row to the next."""
    origin, plane, row = at
    start = channel * plane
    if origin > 0:
        _clear(x[start : start + origin])
        for h in range(rows - 1):
            _clear(x[start + origin + h * row + length : start + origin + (h + 1) * row])
        _clear(x[start + origin + (rows - 1) * row + length : start + plane])


@njit(nogil=True, cache=True)
def forward_channels(  # type: ignore[no-untyped-def]
    out, out_at, x, x_at, residual, residual_at, shape, weight, bias, mean, variance, eps, flags, begin, end
):
    rows, length = shape
    training, add, relu = flags
    kind = x.dtype.type
    for c in range(begin, end):
        if training:
            total = 0.0
            for h in range(rows):
                total += _sum(_row(x, x_at, c, h, length))
            mean[c] = total / (rows * length)
            total = 0.0
            for h in range(rows):
                total += _squares(_row(x, x_at, c, h, length), kind(mean[c]))
            variance[c] = total / (rows * length)
        middle, scale, offset = kind(mean[c]), kind(weight[c] / (variance[c] + eps) ** 0.5), kind(bias[c])
        for h in range(rows):
            to, added = _row(out, out_at, c, h, length), _row(residual, residual_at, c, h, length)
            _write(to, _row(x, x_at, c, h, length), added, middle, scale, offset, add, relu)
        _clear_border(out, out_at, c, rows, length)


@njit(nogil=True, cache=True)
def backward_channels(  # type: ignore[no-untyped-def]
    out, out_at, copy, copy_at, g, g_at, y, y_at, x, x_at, shape, weight, weight_grad, bias_grad, mean, variance, eps,
    flags, begin, end,
):  # fmt: skip
    rows, length = shape
    training, keep, relu = flags
    kind = x.dtype.type
    for c in range(begin, end):
        middle, deviation = kind(mean[c]), (variance[c] + eps) ** 0.5
        total, product = 0.0, 0.0
        for h in range(rows):
            g_row, y_row = _row(g, g_at, c, h, length), _row(y, y_at, c, h, length)
            one, other = _gradient_sums(g_row, y_row, _row(x, x_at, c, h, length), middle, relu)
            total += one
            product += other
        weight_grad[c], bias_grad[c] = product / deviation, total
        scale, shift, slope = kind(weight[c] / deviation), kind(0), kind(0)
        if training:
            count = rows * length
            shift, slope = kind(total / count), kind(product / (deviation * deviation * count))
        for h in range(rows):
            g_row, y_row = _row(g, g_at, c, h, length), _row(y, y_at, c, h, length)
            to, x_row = _row(out, out_at, c, h, length), _row(x, x_at, c, h, length)
            _write_gradient(to, g_row, y_row, x_row, middle, scale, shift, slope, relu)
            if keep:
                _write_masked(_row(copy, copy_at, c, h, length), g_row, y_row, relu)
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
    out, out_at, copy, copy_at, g, g_at, y, y_at, x, x_at, shape, weight, weight_grad, bias_grad, mean, variance, eps,
    flags, items, threads,
):  # fmt: skip
    for i in prange(threads):
        backward_channels(
            out, out_at, copy, copy_at, g, g_at, y, y_at, x, x_at, shape, weight, weight_grad, bias_grad, mean,
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
            output, read for ReLU), x and its place, (rows, length of a row), weight, gradients of weight and bias
            [channels], mean, variance, eps, flags (training, keep, relu).
    """
    _run(backward_channels, _backward_threads, arguments, channels, threads)


def _run(one: Any, many: Any, arguments: tuple[Any, ...], channels: int, threads: int) -> None:
    if threads == 1 or channels == 1:
        one(*arguments, 0, channels)
    else:
        set_threads(threads)
        many(*arguments, channels, min(threads, channels))
