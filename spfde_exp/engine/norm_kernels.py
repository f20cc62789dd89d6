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


@njit(nogil=True, cache=True, fastmath=_SUM)
def _sum(x, start, length):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for i in range(start, start + length):
        total += x[i]
    return total


@njit(nogil=True, cache=True, fastmath=_SUM)
def _squares(x, start, length, mean):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for i in range(start, start + length):
        total += (x[i] - mean) * (x[i] - mean)
    return total


@njit(nogil=True, cache=True, fastmath=_SUM)
def _gradient_sums(g, a, y, b, x, c, length, mean, relu):  # type: ignore[no-untyped-def]
    """Sums over a row of the gradient behind ReLU, and of its products with the centred input."""
    zero = x.dtype.type(0)
    total, product = zero, zero
    if relu:
        for i in range(length):
            part = zero if y[b + i] <= 0 else g[a + i]
            total += part
            product += part * (x[c + i] - mean)
    else:
        for i in range(length):
            total += g[a + i]
            product += g[a + i] * (x[c + i] - mean)
    return total, product


@njit(nogil=True, cache=True)
def _write(out, o, x, a, residual, r, length, mean, scale, bias, add, relu):  # type: ignore[no-untyped-def]
    zero = x.dtype.type(0)
    if add:
        for i in range(length):
            value = (x[a + i] - mean) * scale + bias + residual[r + i]
            out[o + i] = zero if relu and value < 0 else value
    else:
        for i in range(length):
            value = (x[a + i] - mean) * scale + bias
            out[o + i] = zero if relu and value < 0 else value


@njit(nogil=True, cache=True)
def _write_gradient(  # type: ignore[no-untyped-def]
    out, o, copy, e, g, a, y, b, x, c, length, mean, scale, shift, slope, relu, keep
):
    """scale * (gradient behind ReLU - shift - slope * centred input), and that gradient itself if `keep`."""
    zero = x.dtype.type(0)
    for i in range(length):
        part = zero if relu and y[b + i] <= 0 else g[a + i]
        out[o + i] = scale * (part - shift - slope * (x[c + i] - mean))
        if keep:
            copy[e + i] = part


@njit(nogil=True, cache=True)
def _forward(  # type: ignore[no-untyped-def]
    out, out_at, x, x_at, residual, residual_at, shape, weight, bias, mean, variance, eps, flags, begin, end
):
    rows, length = shape
    training, add, relu = flags
    kind = x.dtype.type
    for channel in range(begin, end):
        start = x_at[0] + channel * x_at[1]
        if training:
            total = 0.0
            for h in range(rows):
                total += _sum(x, start + h * x_at[2], length)
            mean[channel] = total / (rows * length)
            total = 0.0
            for h in range(rows):
                total += _squares(x, start + h * x_at[2], length, kind(mean[channel]))
            variance[channel] = total / (rows * length)
        scale = kind(weight[channel] / (variance[channel] + eps) ** 0.5)
        for h in range(rows):
            o = out_at[0] + channel * out_at[1] + h * out_at[2]
            r = residual_at[0] + channel * residual_at[1] + h * residual_at[2]
            _write(
                out, o, x, start + h * x_at[2], residual, r, length, kind(mean[channel]), scale, kind(bias[channel]),
                add, relu,
            )  # fmt: skip


@njit(nogil=True, cache=True)
def _backward(  # type: ignore[no-untyped-def]
    out, out_at, copy, copy_at, g, g_at, y, y_at, x, x_at, shape, weight, weight_grad, bias_grad, mean, variance, eps,
    flags, begin, end,
):  # fmt: skip
    rows, length = shape
    training, keep, relu = flags
    kind = x.dtype.type
    for channel in range(begin, end):
        middle, deviation = kind(mean[channel]), (variance[channel] + eps) ** 0.5
        total, product = 0.0, 0.0
        for h in range(rows):
            a = g_at[0] + channel * g_at[1] + h * g_at[2]
            b = y_at[0] + channel * y_at[1] + h * y_at[2]
            c = x_at[0] + channel * x_at[1] + h * x_at[2]
            one, other = _gradient_sums(g, a, y, b, x, c, length, middle, relu)
            total += one
            product += other
        weight_grad[channel], bias_grad[channel] = product / deviation, total
        scale, shift, slope = kind(weight[channel] / deviation), kind(0), kind(0)
        if training:
            count = rows * length
            shift, slope = kind(total / count), kind(product / (deviation * deviation * count))
        for h in range(rows):
            o = out_at[0] + channel * out_at[1] + h * out_at[2]
            e = copy_at[0] + channel * copy_at[1] + h * copy_at[2]
            a = g_at[0] + channel * g_at[1] + h * g_at[2]
            b = y_at[0] + channel * y_at[1] + h * y_at[2]
            c = x_at[0] + channel * x_at[1] + h * x_at[2]
            _write_gradient(out, o, copy, e, g, a, y, b, x, c, length, middle, scale, shift, slope, relu, keep)


@njit(nogil=True, cache=True, parallel=True)
def _forward_threads(  # type: ignore[no-untyped-def]
    out, out_at, x, x_at, residual, residual_at, shape, weight, bias, mean, variance, eps, flags, items, threads
):
    for i in prange(threads):
        _forward(
            out, out_at, x, x_at, residual, residual_at, shape, weight, bias, mean, variance, eps, flags,
            items * i // threads, items * (i + 1) // threads,
        )  # fmt: skip


@njit(nogil=True, cache=True, parallel=True)
def _backward_threads(  # type: ignore[no-untyped-def]
    out, out_at, copy, copy_at, g, g_at, y, y_at, x, x_at, shape, weight, weight_grad, bias_grad, mean, variance, eps,
    flags, items, threads,
):  # fmt: skip
    for i in prange(threads):
        _backward(
            out, out_at, copy, copy_at, g, g_at, y, y_at, x, x_at, shape, weight, weight_grad, bias_grad, mean,
            variance, eps, flags, items * i // threads, items * (i + 1) // threads,
        )  # fmt: skip


def forward(*arguments: Any, channels: int, threads: int) -> None:
    """`out` = ReLU of (the normalised `x` + `residual`), each part where the flags say so.

    Args:
        arguments: out and its place, x and its place, residual and its place, (rows, length of a row), weight, bias,
            mean and variance [channels] of float64, which are written in training, eps, flags (training, add, relu).
    """
    _run(_forward, _forward_threads, arguments, channels, threads)


def backward(*arguments: Any, channels: int, threads: int) -> None:
    """Gradients of `forward`.

    Args:
        arguments: out and its place (of the input's gradient), copy and its place (of the residual's, written if the
            flag `keep` is set), g and its place (of the output's), y and its place (the output, read for ReLU), x and
            its place, (rows, length of a row), weight, gradients of weight and bias [channels], mean, variance, eps,
            flags (training, keep, relu).
    """
    _run(_backward, _backward_threads, arguments, channels, threads)


def _run(one: Any, many: Any, arguments: tuple[Any, ...], channels: int, threads: int) -> None:
    if threads == 1 or channels == 1:
        one(*arguments, 0, channels)
    else:
        set_threads(threads)
        many(*arguments, channels, min(threads, channels))
