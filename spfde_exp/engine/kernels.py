"""Compiled kernels: sums of shifted rows, and dot products of rows, at the non-zeros of a weight.

All work on flat arrays of float32 or float64; whoever calls turns shapes into offsets. One non-zero weight is one
multiply-add over a contiguous row of W * N numbers (image row times batch). A part of that row stays in vector
registers while all non-zeros of an output channel are added to it, so that each multiply-add costs one load.

The inner loops are written as vector instructions of LLVM, since its own vectoriser keeps sums in memory. Vectors are
of 64 bytes on every machine, in halves or quarters where registers are smaller, and every number is summed in an order
that depends on shapes and structure alone: results are the same bits with any number of threads.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import binding
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from spfde_exp.engine.vectors import BYTES, Vectors

__all__ = [
    "AT_ONCE", "BLOCK", "GROUPS", "PART", "REGISTERS_32", "SOON", "Floats", "Ints", "by_threads", "dots", "fetch",
    "fetch_next", "gather", "set_threads",
]  # fmt: skip

_told: str | None = numba.config.CPU_FEATURES  # type: ignore[attr-defined]  # NUMBA_CPU_FEATURES, where it is set
REGISTERS_32 = "+avx512f" in (_told or binding.get_host_cpu_features().flatten())
# Vectors, or non-zeros, whose sums are in registers together; AVX2 has half as many registers, of half the size.
GROUPS = (8, 4, 2, 1) if REGISTERS_32 else (4, 2, 1)
_LARGEST = GROUPS[0]
BLOCK = 16  # output channels whose sums are one item of work
PART = 16  # vectors of a row that are worked off for all channels of an item before the next
SOON = 2  # channels from the one that is worked on to that whose numbers are fetched into the caches
AT_ONCE = 1024  # numbers of a channel whose products are summed in one go, in the first cache and in their own type

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def _sum_of_shifted(vectors: int) -> Any:
    """out[o:] = sum of values[k] * x[offsets[k] + t:] over k from begin to end, for so many vectors.

    If `more`, it is added to what `out` holds.
    """

    @intrinsic
    def emit(
        _: Any, out: Any, x: Any, offsets: Any, values: Any, begin: Any, end: Any, o: Any, t: Any, more: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitted = Vectors(context, builder, signature.args[0].dtype)
            pointers = [emitted.data(*pair) for pair in zip(signature.args[:4], arguments[:4], strict=True)]
            out, x, offsets, values = pointers
            begin, end, o, t, more = arguments[4:]
            index = begin.type
            x, out = builder.gep(x, [t]), builder.gep(out, [o])
            sums = [emitted.variable() for _ in range(vectors)]
            with builder.if_then(more):
                for i, place in enumerate(sums):
                    builder.store(emitted.load(builder.gep(out, [index(i * emitted.lanes)])), place)
            with cgutils.for_range_slice(builder, begin, end, index(1), inc=True) as (k, _):
                value = emitted.splat(builder.load(builder.gep(values, [k])))
                shifted = builder.gep(x, [builder.load(builder.gep(offsets, [k]))])
                for i, place in enumerate(sums):
                    part = emitted.load(builder.gep(shifted, [index(i * emitted.lanes)]))
                    emitted.add_product(place, value, part)
            for i, place in enumerate(sums):
                emitted.store(builder.load(place), builder.gep(out, [index(i * emitted.lanes)]))
            return context.get_dummy_value()

        return types.void(out, x, offsets, values, *[types.intp] * 4, types.boolean), generate

    return emit


def _dot_products(count: int) -> Any:
    """sums[k:] += dot products of rows of g at `start`, and of x at offsets[k:] + t, for so many k.

    Rows are `length` long, at least a vector.
    """

    @intrinsic
    def emit(
        _: Any, sums: Any, g: Any, x: Any, offsets: Any, k: Any, start: Any, t: Any,
        rows: Any, g_row: Any, x_row: Any, length: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitted = Vectors(context, builder, signature.args[1].dtype)
            pointers = [emitted.data(*pair) for pair in zip(signature.args[:4], arguments[:4], strict=True)]
            sums, g, x, offsets = pointers
            k, start, t, rows, g_row, x_row, length = arguments[4:]
            index = k.type
            g, x = builder.gep(g, [start]), builder.gep(x, [t])
            shifted = [
                builder.gep(x, [builder.load(builder.gep(offsets, [builder.add(k, index(j))]))]) for j in range(count)
            ]
            places = [emitted.variable() for _ in range(count)]
            lanes = index(emitted.lanes)
            rest = builder.srem(length, lanes)
            whole = builder.sub(length, rest)
            with cgutils.for_range_slice(builder, index(0), rows, index(1), inc=True) as (h, _):
                g_start, x_start = builder.mul(h, g_row), builder.mul(h, x_row)
                g_here = builder.gep(g, [g_start])
                x_here = [builder.gep(pointer, [x_start]) for pointer in shifted]
                with cgutils.for_range_slice(builder, index(0), whole, lanes, inc=True) as (i, _):
                    part = emitted.load(builder.gep(g_here, [i]))
                    for pointer, place in zip(x_here, places, strict=True):
                        emitted.add_product(place, part, emitted.load(builder.gep(pointer, [i])))
                # The rest of the row is the end of its last full vector, both factors zero in the lanes before it.
                with builder.if_then(builder.icmp_signed(">", rest, index(0))):
                    last = builder.sub(length, lanes)
                    mask, zero = emitted.from_lane(builder.sub(lanes, rest)), emitted.type(None)
                    part = builder.select(mask, emitted.load(builder.gep(g_here, [last])), zero)
                    for pointer, place in zip(x_here, places, strict=True):
                        other = builder.select(mask, emitted.load(builder.gep(pointer, [last])), zero)
                        emitted.add_product(place, part, other)
            for j, place in enumerate(places):
                emitted.add_total(builder.load(place), builder.gep(sums, [builder.add(k, index(j))]))
            return context.get_dummy_value()

        return types.void(sums, g, x, offsets, *[types.intp] * 7), generate

    return emit


@intrinsic
def fetch(_: Any, array: Any, place: Any) -> Any:
    """Bring array[place] into the caches; it may lie outside."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emitted = Vectors(context, builder, signature.args[0].dtype)
        emitted.fetch(builder.gep(emitted.data(signature.args[0], arguments[0]), [arguments[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


_sum_most, _sum_4, _sum_2, _sum_1 = (_sum_of_shifted(n) for n in (_LARGEST, 4, 2, 1))
_dot_most, _dot_4, _dot_2, _dot_1 = (_dot_products(n) for n in (_LARGEST, 4, 2, 1))


# The compiled functions take flat arrays and plain numbers; mypy cannot look into them.
@njit(nogil=True, cache=True)
def count_items(channels, rows):  # type: ignore[no-untyped-def]
    """Pieces of work in a `gather` of that shape: a row in a block of output channels each, row after row."""
    return rows * -(-channels // BLOCK)


@njit(nogil=True, cache=True)
def gather_items(out, x, offsets, values, bounds, shape, steps, ahead, begin, end):  # type: ignore[no-untyped-def]
    """`gather` for some items."""
    channels, _, _ = shape
    blocks = -(-channels // BLOCK)
    item = begin
    while item < end:
        line, first = item // blocks, item % blocks
        last = min(blocks, first + end - item)
        those = first * BLOCK, min(channels, last * BLOCK)
        _gather_row(out, x, offsets, values, bounds, shape, steps, ahead, line, those)
        item += last - first


@njit(nogil=True, cache=True, forceinline=True)
def fetch_next(x, ahead, t, left, right, channel, channels, fetched):  # type: ignore[no-untyped-def]
    """Fetch a channel's share of the planes that the next row reads anew; returns how many are fetched by then."""
    planes, plane, start = ahead
    while fetched * channels < (channel + 1) * planes:
        for at in range(left, right, BYTES // x.itemsize):
            fetch(x, fetched * plane + start + t + at)
        fetched += 1
    return fetched


@njit(nogil=True, cache=True)
def _gather_row(  # type: ignore[no-untyped-def]
    out, x, offsets, values, bounds, shape, steps, ahead, line, those
):
    """One row of `those` channels, part by part, as what the channels of a block read of a part is in the first cache.

    What is soon needed lies in as many places as there are channels, too many for the processor to foresee: it is
    fetched by then.
    """
    channels, _, length = shape
    origin, plane, row, x_row = steps
    lanes = BYTES // x.itemsize
    most = _LARGEST * lanes
    t = line * x_row
    for left in range(0, length, PART * lanes):
        right = min(length, left + PART * lanes)
        fetched = those[0] * ahead[0] // channels
        for block in range(those[0], those[1], BLOCK):
            for slab in range(len(bounds) - 1):
                more = slab > 0
                for channel in range(block, min(those[1], block + BLOCK)):
                    k, stop = bounds[slab, channel], bounds[slab + 1, channel]
                    o = origin + channel * plane + line * row
                    if not more:
                        for at in range(left, right, lanes):
                            fetch(out, o + SOON * plane + at)
                        fetched = fetch_next(x, ahead, t, left, right, channel, channels, fetched)
                    at = left
                    while right - at >= most:
                        _sum_most(out, x, offsets, values, k, stop, o + at, t + at, more)
                        at += most
                    if right - at >= 4 * lanes:
                        _sum_4(out, x, offsets, values, k, stop, o + at, t + at, more)
                        at += 4 * lanes
                    if right - at >= 2 * lanes:
                        _sum_2(out, x, offsets, values, k, stop, o + at, t + at, more)
                        at += 2 * lanes
                    if right - at >= lanes:
                        _sum_1(out, x, offsets, values, k, stop, o + at, t + at, more)
                        at += lanes
                    for i in range(at, right):
                        total = out[o + i] if more else out.dtype.type(0)
                        for j in range(k, stop):
                            total += values[j] * x[offsets[j] + t + i]
                        out[o + i] = total


@njit(nogil=True, cache=True)
def _dots_items(sums, g, x, offsets, first, size, channel, shape, steps, begin, end):  # type: ignore[no-untyped-def]
    """`dots` for the groups from `begin` to `end`."""
    rows, length = shape
    origin, plane, g_row, x_row = steps
    lanes = BYTES // x.itemsize
    at_once = max(1, AT_ONCE // length)
    for line in range(0, rows, at_once):
        lines = min(at_once, rows - line)
        t = line * x_row
        for i in range(begin, end):
            k, count = first[i], size[i]
            o = origin + channel[i] * plane + line * g_row
            if length < lanes:
                for j in range(k, k + count):
                    for h in range(lines):
                        for c in range(length):
                            sums[j] += g[o + h * g_row + c] * x[offsets[j] + t + h * x_row + c]
            elif count == _LARGEST:
                _dot_most(sums, g, x, offsets, k, o, t, lines, g_row, x_row, length)
            elif count == 4:
                _dot_4(sums, g, x, offsets, k, o, t, lines, g_row, x_row, length)
            elif count == 2:
                _dot_2(sums, g, x, offsets, k, o, t, lines, g_row, x_row, length)
            else:
                _dot_1(sums, g, x, offsets, k, o, t, lines, g_row, x_row, length)


@njit(nogil=True, cache=True, parallel=True)
def _gather_threads(out, x, offsets, values, bounds, shape, steps, ahead, items, threads):  # type: ignore[no-untyped-def]
    for i in prange(threads):
        begin, end = items * i // threads, items * (i + 1) // threads
        gather_items(out, x, offsets, values, bounds, shape, steps, ahead, begin, end)


@njit(nogil=True, cache=True, parallel=True)
def _dots_threads(  # type: ignore[no-untyped-def]
    sums, g, x, offsets, first, size, channel, shape, steps, items, threads
):
    for i in prange(threads):
        _dots_items(
            sums, g, x, offsets, first, size, channel, shape, steps, items * i // threads, items * (i + 1) // threads
        )


def gather(
    out: Floats,
    x: Floats,
    offsets: Ints,
    values: Floats,
    bounds: Ints,
    shape: tuple[int, int, int],
    steps: tuple[int, int, int, int],
    ahead: tuple[int, int, int],
    threads: int = 1,
) -> None:
    """Every row of `out` becomes a weighted sum of rows of `x`.

    out[origin + c * plane + h * row + i] = sum over k in bounds[0, c] .. bounds[-1, c] of
    values[k] * x[offsets[k] + h * x_row + i], for c, h, i below `shape`.

    Args:
        out, x, values: flat and contiguous, of one type, float32 or float64.
        offsets: where in `x` the row lies that non-zero k takes for the first row of `out`.
        bounds: [slabs + 1, channels] where in k the slabs of every channel begin. Slabs are worked off one after the
            other, each for several channels: they are to be so thin that what they read stays in the first cache.
        shape: channels, rows, length of a row.
        steps: origin, plane, row (of `out`), x_row.
        ahead: planes of `x`, their distance, and where in the first of them the row begins that the first row of `out`
            does not take, but the second does.
    """
    items = count_items(*shape[:2])
    if threads == 1 or items == 1:
        gather_items(out, x, offsets, values, bounds, shape, steps, ahead, 0, items)
    else:
        set_threads(threads)
        _gather_threads(out, x, offsets, values, bounds, shape, steps, ahead, items, min(threads, items))


def dots(
    sums: npt.NDArray[np.float64],
    g: Floats,
    x: Floats,
    offsets: Ints,
    groups: tuple[Ints, Ints, Ints],
    shape: tuple[int, int],
    steps: tuple[int, int, int, int],
    threads: int = 1,
) -> None:
    """Add to sums[k] the dot product of the rows of `g` in the channel of k with those of `x` at offsets[k].

    Sums over `AT_ONCE` numbers, or one row, are made in the type of the factors, sums of those in float64.

    Args:
        g, x: flat and contiguous, of one type, float32 or float64.
        offsets: where in `x` the first row of non-zero k lies.
        groups: first k, size (in `GROUPS`) and channel in `g`, of neighbouring k that share a channel.
        shape: rows, length of a row.
        steps: origin, plane, row (of `g`), x_row.
    """
    items = len(groups[0])
    if threads == 1 or items <= 1:
        _dots_items(sums, g, x, offsets, *groups, shape, steps, 0, items)
    else:
        set_threads(threads)
        _dots_threads(sums, g, x, offsets, *groups, shape, steps, items, min(threads, items))


def set_threads(threads: int) -> None:
    """Numba's pool has as many threads as the machine has cores unless told otherwise; more chunks wait in it."""
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def by_threads(one: Any, many: Any, arguments: tuple[Any, ...], threads: int) -> None:
    """`one` of the arguments, or `many` of them and so many threads."""
    if threads == 1:
        one(*arguments)
    else:
        set_threads(threads)
        many(*arguments, threads)
