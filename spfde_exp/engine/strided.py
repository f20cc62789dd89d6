"""The kernels of `spfde_exp.engine.kernels` for rows whose pixels are apart in memory, as a stride of 2 takes them.

A pixel is N numbers, those of a batch, and N is a multiple of a vector's lanes here. Every vector thus lies in one
pixel, and `jumps` tell where: they are added to addresses before the loops over non-zeros, which then cost what they
cost with contiguous rows. Sums are made in the order of contiguous rows, too.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from spfde_exp.engine.kernels import AT_ONCE, BLOCK, GROUPS, Floats, Ints, set_threads
from spfde_exp.engine.vectors import BYTES, Vectors

__all__ = ["dots_apart", "gather_apart", "jumps"]

_LARGEST = GROUPS[0]


@lru_cache(maxsize=256)
def jumps(pixels: int, n: int, step: int, itemsize: int) -> Ints:
    """Where the vectors of a row of pixels of `n` numbers begin if the pixels are `step` numbers apart."""
    start = np.arange(0, pixels * n, BYTES // itemsize)
    return start // n * step + start % n


def _sum_of_vectors(vectors: int) -> Any:
    """out[o + out_jumps[v]:] = sum of values[k] * x[offsets[k] + t + x_jumps[v]:] over k from begin to end.

    It is for so many v from `v` on. If `more`, it is added to what `out` holds.
    """

    @intrinsic
    def emit(
        _: Any, out: Any, x: Any, offsets: Any, values: Any, out_jumps: Any, x_jumps: Any,
        begin: Any, end: Any, o: Any, t: Any, v: Any, more: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitted = Vectors(context, builder, signature.args[0].dtype)
            pointers = [emitted.data(*pair) for pair in zip(signature.args[:6], arguments[:6], strict=True)]
            out, x, offsets, values, out_jumps, x_jumps = pointers
            begin, end, o, t, v, more = arguments[6:]
            index = begin.type
            out_jumps, x_jumps = builder.gep(out_jumps, [v]), builder.gep(x_jumps, [v])

            def vector(array: Any, jumps: Any, i: int) -> Any:
                return builder.gep(array, [builder.load(builder.gep(jumps, [index(i)]))])

            x, out = builder.gep(x, [t]), builder.gep(out, [o])
            taken = [vector(x, x_jumps, i) for i in range(vectors)]
            sums = [emitted.variable() for _ in range(vectors)]
            with builder.if_then(more):
                for i, place in enumerate(sums):
                    builder.store(emitted.load(vector(out, out_jumps, i)), place)
            with cgutils.for_range_slice(builder, begin, end, index(1), inc=True) as (k, _):
                value = emitted.splat(builder.load(builder.gep(values, [k])))
                offset = builder.load(builder.gep(offsets, [k]))
                for pointer, place in zip(taken, sums, strict=True):
                    emitted.add_product(place, value, emitted.load(builder.gep(pointer, [offset])))
            for i, place in enumerate(sums):
                emitted.store(builder.load(place), vector(out, out_jumps, i))
            return context.get_dummy_value()

        return types.void(out, x, offsets, values, out_jumps, x_jumps, *[types.intp] * 5, types.boolean), generate

    return emit


def _dot_products(count: int) -> Any:
    """sums[k:] += dot products of rows of g at `start`, and of x at offsets[k:] + t, for so many k.

    Rows are of so many `vectors`, contiguous in g and at `jumps` in x.
    """

    @intrinsic
    def emit(
        _: Any, sums: Any, g: Any, x: Any, offsets: Any, jumps: Any, k: Any, start: Any, t: Any,
        rows: Any, g_row: Any, x_row: Any, vectors: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitted = Vectors(context, builder, signature.args[1].dtype)
            pointers = [emitted.data(*pair) for pair in zip(signature.args[:5], arguments[:5], strict=True)]
            sums, g, x, offsets, jumps = pointers
            k, start, t, rows, g_row, x_row, vectors = arguments[5:]
            index = k.type
            g, x = builder.gep(g, [start]), builder.gep(x, [t])
            ks = [builder.add(k, index(j)) for j in range(count)]
            taken = [builder.gep(x, [builder.load(builder.gep(offsets, [k]))]) for k in ks]
            places = [emitted.variable() for _ in range(count)]
            with cgutils.for_range_slice(builder, index(0), rows, index(1), inc=True) as (h, _):
                g_here = builder.gep(g, [builder.mul(h, g_row)])
                x_start = builder.mul(h, x_row)
                x_here = [builder.gep(pointer, [x_start]) for pointer in taken]
                with cgutils.for_range_slice(builder, index(0), vectors, index(1), inc=True) as (v, _):
                    part = emitted.load(builder.gep(g_here, [builder.mul(v, index(emitted.lanes))]))
                    jump = builder.load(builder.gep(jumps, [v]))
                    for pointer, place in zip(x_here, places, strict=True):
                        emitted.add_product(place, part, emitted.load(builder.gep(pointer, [jump])))
            for k, place in zip(ks, places, strict=True):
                emitted.add_total(builder.load(place), builder.gep(sums, [k]))
            return context.get_dummy_value()

        return types.void(sums, g, x, offsets, jumps, *[types.intp] * 7), generate

    return emit


_sum_most, _sum_4, _sum_2, _sum_1 = (_sum_of_vectors(n) for n in (_LARGEST, 4, 2, 1))
_dot_most, _dot_4, _dot_2, _dot_1 = (_dot_products(n) for n in (_LARGEST, 4, 2, 1))


# The compiled functions take flat arrays and plain numbers; mypy cannot look into them.
@njit(nogil=True, cache=True)
def _gather_items(  # type: ignore[no-untyped-def]
    out, x, offsets, values, bounds, out_jumps, x_jumps, shape, steps, begin, end
):
    channels, _ = shape
    origin, plane, row, x_row = steps
    vectors = len(x_jumps)
    parts, blocks = -(-vectors // _LARGEST), -(-channels // BLOCK)
    for item in range(begin, end):
        line, part, block = item // (parts * blocks), item // blocks % parts, item % blocks
        left, right = part * _LARGEST, min(vectors, (part + 1) * _LARGEST)
        for slab in range(len(bounds) - 1):
            more = slab > 0
            for channel in range(block * BLOCK, min(channels, (block + 1) * BLOCK)):
                k, stop = bounds[slab, channel], bounds[slab + 1, channel]
                o, t = origin + channel * plane + line * row, line * x_row
                v = left
                if right - v >= _LARGEST:
                    _sum_most(out, x, offsets, values, out_jumps, x_jumps, k, stop, o, t, v, more)
                    v += _LARGEST
                if right - v >= 4:
                    _sum_4(out, x, offsets, values, out_jumps, x_jumps, k, stop, o, t, v, more)
                    v += 4
                if right - v >= 2:
                    _sum_2(out, x, offsets, values, out_jumps, x_jumps, k, stop, o, t, v, more)
                    v += 2
                if right > v:
                    _sum_1(out, x, offsets, values, out_jumps, x_jumps, k, stop, o, t, v, more)


@njit(nogil=True, cache=True)
def _dots_items(  # type: ignore[no-untyped-def]
    sums, g, x, offsets, jumps, first, size, channel, rows, steps, begin, end
):
    origin, plane, g_row, x_row = steps
    vectors = len(jumps)
    at_once = max(1, AT_ONCE // (jumps[-1] + BYTES // x.itemsize))
    for line in range(0, rows, at_once):
        lines = min(at_once, rows - line)
        t = line * x_row
        for i in range(begin, end):
            k, count = first[i], size[i]
            o = origin + channel[i] * plane + line * g_row
            if count == _LARGEST:
                _dot_most(sums, g, x, offsets, jumps, k, o, t, lines, g_row, x_row, vectors)
            elif count == 4:
                _dot_4(sums, g, x, offsets, jumps, k, o, t, lines, g_row, x_row, vectors)
            elif count == 2:
                _dot_2(sums, g, x, offsets, jumps, k, o, t, lines, g_row, x_row, vectors)
            else:
                _dot_1(sums, g, x, offsets, jumps, k, o, t, lines, g_row, x_row, vectors)


@njit(nogil=True, cache=True, parallel=True)
def _gather_threads(  # type: ignore[no-untyped-def]
    out, x, offsets, values, bounds, out_jumps, x_jumps, shape, steps, items, threads
):
    for i in prange(threads):
        begin, end = items * i // threads, items * (i + 1) // threads
        _gather_items(out, x, offsets, values, bounds, out_jumps, x_jumps, shape, steps, begin, end)


@njit(nogil=True, cache=True, parallel=True)
def _dots_threads(  # type: ignore[no-untyped-def]
    sums, g, x, offsets, jumps, first, size, channel, rows, steps, items, threads
):
    for i in prange(threads):
        begin, end = items * i // threads, items * (i + 1) // threads
        _dots_items(sums, g, x, offsets, jumps, first, size, channel, rows, steps, begin, end)


def gather_apart(
    out: Floats,
    x: Floats,
    offsets: Ints,
    values: Floats,
    bounds: Ints,
    vectors: tuple[Ints, Ints],
    shape: tuple[int, int],
    steps: tuple[int, int, int, int],
    threads: int = 1,
) -> None:
    """`spfde_exp.engine.kernels.gather` where pixels are apart, in `out` or in `x`.

    Args:
        out, x, offsets, values, bounds, steps: as there.
        vectors: `jumps` of a row of `out` and of one of `x`.
        shape: channels, rows.
    """
    channels, rows = shape
    items = rows * -(-len(vectors[0]) // _LARGEST) * -(-channels // BLOCK)
    if threads == 1 or items == 1:
        _gather_items(out, x, offsets, values, bounds, *vectors, shape, steps, 0, items)
    else:
        set_threads(threads)
        _gather_threads(out, x, offsets, values, bounds, *vectors, shape, steps, items, min(threads, items))


def dots_apart(
    sums: npt.NDArray[np.float64],
    g: Floats,
    x: Floats,
    offsets: Ints,
    groups: tuple[Ints, Ints, Ints],
    vectors: Ints,
    rows: int,
    steps: tuple[int, int, int, int],
    threads: int = 1,
) -> None:
    """`spfde_exp.engine.kernels.dots` where the pixels of `x` are apart.

    Args:
        sums, g, x, offsets, groups, steps: as there.
        vectors: `jumps` of a row of `x`.
        rows: of `g`.
    """
    items = len(groups[0])
    if threads == 1 or items <= 1:
        _dots_items(sums, g, x, offsets, vectors, *groups, rows, steps, 0, items)
    else:
        set_threads(threads)
        _dots_threads(sums, g, x, offsets, vectors, *groups, rows, steps, items, min(threads, items))
