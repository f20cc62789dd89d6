"""Both gradients of a convolution of stride 1 in one pass over the gradient of its output.

A non-zero weight that is multiplied with a row of that gradient, for the gradient of the input, has the sum of products
of this row and one of the input as its own gradient. What is read for the one is in registers for the other.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from spfde_exp.engine.affine import normalise_row
from spfde_exp.engine.kernels import (
    AT_ONCE,
    BLOCK,
    PART,
    REGISTERS_32,
    SOON,
    Floats,
    Ints,
    fetch,
    fetch_next,
    set_threads,
)
from spfde_exp.engine.memory import aligned
from spfde_exp.engine.vectors import BYTES, Vectors

__all__ = ["both_gradients", "both_items", "count_chunks", "lines_at_once"]

# Vectors of the gradient of the input, and as many of the input, that are in registers together.
_LARGEST = 8 if REGISTERS_32 else 2


def _sum_and_products(vectors: int) -> Any:
    """out[o:] = sum of values[k] * g[offsets[k] + t:] over k from begin to end, for so many vectors.

    The products of these parts of g and x[i:] are added up in the vectors at products[p:], one for each k. If `more`,
    the sum is added to what `out` holds; then, if `adds`, added[a:] is added, and if `shuts`, `out` is zero where x
    is not positive.
    """

    @intrinsic
    def emit(
        _: Any, out: Any, g: Any, offsets: Any, values: Any, products: Any, x: Any, added: Any,
        begin: Any, end: Any, o: Any, t: Any, i: Any, p: Any, a: Any, more: Any, adds: Any, shuts: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitted = Vectors(context, builder, signature.args[0].dtype)
            pointers = [emitted.data(*pair) for pair in zip(signature.args[:7], arguments[:7], strict=True)]
            out, g, offsets, values, products, x, added = pointers
            begin, end, o, t, i, p, a, more, adds, shuts = arguments[7:]
            index = begin.type
            g, out, x = builder.gep(g, [t]), builder.gep(out, [o]), builder.gep(x, [i])
            products, added = builder.gep(products, [p]), builder.gep(added, [a])
            steps = [index(v * emitted.lanes) for v in range(vectors)]
            factors = [emitted.load(builder.gep(x, [step])) for step in steps]
            sums = [emitted.variable() for _ in range(vectors)]
            with builder.if_then(more):
                for step, place in zip(steps, sums, strict=True):
                    builder.store(emitted.load(builder.gep(out, [step])), place)
            with cgutils.for_range_slice(builder, begin, end, index(1), inc=True) as (k, _):
                value = emitted.splat(builder.load(builder.gep(values, [k])))
                shifted = builder.gep(g, [builder.load(builder.gep(offsets, [k]))])
                product = builder.gep(products, [builder.mul(builder.sub(k, begin), index(emitted.lanes))])
                # One vector after the other, so that the order is that of fewer registers, too.
                total = emitted.load(product)
                for step, factor, place in zip(steps, factors, sums, strict=True):
                    part = emitted.load(builder.gep(shifted, [step]))
                    emitted.add_product(place, value, part)
                    total = emitted.sum_of(total, part, factor)
                emitted.store(total, product)
            with builder.if_then(adds):
                for step, place in zip(steps, sums, strict=True):
                    part = emitted.load(builder.gep(added, [step]))
                    builder.store(builder.fadd(builder.load(place), part), place)
            with builder.if_then(shuts):
                zero = emitted.type(None)
                for factor, place in zip(factors, sums, strict=True):
                    closed = builder.fcmp_ordered("<=", factor, zero)
                    builder.store(builder.select(closed, zero, builder.load(place)), place)
            for step, place in zip(steps, sums, strict=True):
                emitted.store(builder.load(place), builder.gep(out, [step]))
            return context.get_dummy_value()

        arrays = out, g, offsets, values, products, x, added
        return types.void(*arrays, *[types.intp] * 7, *[types.boolean] * 3), generate

    return emit


@intrinsic
def _add_total(_: Any, sums: Any, k: Any, products: Any, p: Any) -> Any:
    """sums[k] += sum of the lanes of the vector at products[p:]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emitted = Vectors(context, builder, signature.args[2].dtype)
        sums = emitted.data(signature.args[0], arguments[0])
        products = emitted.data(signature.args[2], arguments[2])
        vector = emitted.load(builder.gep(products, [arguments[3]]))
        emitted.add_total(vector, builder.gep(sums, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(sums, types.intp, products, types.intp), generate


_both_most, _both_4, _both_2, _both_1 = (_sum_and_products(n) for n in (_LARGEST, 4, 2, 1))


# The compiled functions take flat arrays and plain numbers; mypy cannot look into them.
@njit(nogil=True, cache=True)
def lines_at_once(rows, length):  # type: ignore[no-untyped-def]
    """Rows in a chunk, whose products are summed in the type of the factors."""
    return min(rows, max(1, AT_ONCE // length))


@njit(nogil=True, cache=True)
def count_chunks(rows, length):  # type: ignore[no-untyped-def]
    """Chunks of so many rows; the last may have fewer."""
    return -(-rows // lines_at_once(rows, length))


@njit(nogil=True, cache=True)
def both_items(  # type: ignore[no-untyped-def]
    out, values, offsets, bounds, sums, g, x, before, added, added_at, through, shape, steps, ahead, begin, end
):
    """`both_gradients` for some items: blocks of channels in a chunk of rows each, chunk after chunk.

    `sums` are [chunks, non-zeros], or [1, non-zeros] for all chunks together; `offsets` are [1, non-zeros], or
    [lines, non-zeros] of a ring of lines of `g`, for one row after the other. With `before`, [4, channels] and not
    [4, 0], the input is what `spfde_exp.engine.affine.normalise_row` makes of x, and `out` is zero where its ReLU is
    shut. `added`, if it is not empty, is added to `out`; `added_at` are its origin, plane and row. With `through`,
    `out` is zero where the input is not positive.
    """
    channels, rows, length = shape
    blocks, lanes = -(-channels // BLOCK), BYTES // x.itemsize
    at_once = lines_at_once(rows, length)
    most = 0
    for first in range(0, channels, BLOCK):
        most = max(most, bounds[-1, min(channels, first + BLOCK) - 1] - bounds[0, first])
    products, part = aligned(most * lanes, x), aligned(PART * lanes, x)
    for item in range(begin, end):
        chunk, block = item // blocks, item % blocks
        those = block * BLOCK, min(channels, (block + 1) * BLOCK)
        k, stop = bounds[0, those[0]], bounds[-1, those[1] - 1]
        products[: (stop - k) * lanes] = 0
        for line in range(chunk * at_once, min(rows, (chunk + 1) * at_once)):
            _both_row(
                out, values, offsets[line % len(offsets)], bounds, products, part, g, x, before, added, added_at,
                through, shape, steps, ahead, line, those,
            )  # fmt: skip
        into = sums[chunk % len(sums)]
        for j in range(k, stop):
            _add_total(into, j, products, (j - k) * lanes)


@njit(nogil=True, cache=True)
def _both_row(  # type: ignore[no-untyped-def]
    out, values, offsets, bounds, products, made, g, x, before, added, added_at, through, shape, steps, ahead, line,
    those,
):  # fmt: skip
    """One row of a block of channels, part by part; `made` has room for one of the input."""
    channels, rows, length = shape
    x_origin, x_plane, x_row, g_row = steps
    added_origin, added_plane, added_row = added_at
    last = len(bounds) - 2
    lanes = BYTES // x.itemsize
    most = _LARGEST * lanes
    t, earlier = line * g_row, bounds[0, those[0]]
    pending = before.shape[1] > 0
    factors = made if pending else x
    for left in range(0, length, PART * lanes):
        right = min(length, left + PART * lanes)
        fetched = those[0] * ahead[0] // channels
        for slab in range(len(bounds) - 1):
            more = slab > 0
            for channel in range(those[0], those[1]):
                k, stop = bounds[slab, channel], bounds[slab + 1, channel]
                o, i = (channel * rows + line) * length, x_origin + channel * x_plane + line * x_row
                a = added_origin + channel * added_plane + line * added_row
                if not more:
                    for at in range(left, right, lanes):
                        fetch(out, o + SOON * rows * length + at)
                        fetch(x, i + SOON * x_plane + at)
                        if len(added) > 0:
                            fetch(added, a + SOON * added_plane + at)
                    fetched = fetch_next(g, ahead, t, left, right, channel, channels, fetched)
                if pending:
                    normalise_row(made, 0, x, i + left, right - left, before, channel)
                    i = -left
                p, at = (k - earlier) * lanes, left
                adds = slab == last and len(added) > 0
                shuts = slab == last and (through or (pending and before[3, channel] == 0))
                while right - at >= most:
                    _both_most(
                        out, g, offsets, values, products, factors, added, k, stop, o + at, t + at, i + at, p, a + at,
                        more, adds, shuts,
                    )  # fmt: skip
                    at += most
                if right - at >= 4 * lanes:
                    _both_4(
                        out, g, offsets, values, products, factors, added, k, stop, o + at, t + at, i + at, p, a + at,
                        more, adds, shuts,
                    )  # fmt: skip
                    at += 4 * lanes
                if right - at >= 2 * lanes:
                    _both_2(
                        out, g, offsets, values, products, factors, added, k, stop, o + at, t + at, i + at, p, a + at,
                        more, adds, shuts,
                    )  # fmt: skip
                    at += 2 * lanes
                if right - at >= lanes:
                    _both_1(
                        out, g, offsets, values, products, factors, added, k, stop, o + at, t + at, i + at, p, a + at,
                        more, adds, shuts,
                    )  # fmt: skip
                    at += lanes
                for c in range(at, right):
                    total = out[o + c] if more else out.dtype.type(0)
                    for j in range(k, stop):
                        part = g[offsets[j] + t + c]
                        total += values[j] * part
                        products[p + (j - k) * lanes] += part * factors[i + c]
                    if adds:
                        total += added[a + c]
                    out[o + c] = out.dtype.type(0) if shuts and factors[i + c] <= 0 else total


@njit(nogil=True, cache=True, parallel=True)
def _both_threads(  # type: ignore[no-untyped-def]
    out, values, offsets, bounds, sums, g, x, before, added, added_at, through, shape, steps, ahead, items, threads
):
    for i in prange(threads):
        begin, end = items * i // threads, items * (i + 1) // threads
        both_items(
            out, values, offsets, bounds, sums, g, x, before, added, added_at, through, shape, steps, ahead, begin, end
        )


def both_gradients(
    out: Floats,
    values: Floats,
    offsets: Ints,
    bounds: Ints,
    g: Floats,
    x: Floats,
    shape: tuple[int, int, int],
    steps: tuple[int, int, int, int],
    ahead: tuple[int, int, int],
    threads: int = 1,
) -> npt.NDArray[np.float64]:
    """`spfde_exp.engine.kernels.gather` of rows of `g` into `out`, and the sum of products of each with one of `x`.

    Sums over a chunk of rows, `AT_ONCE` numbers or one row, are made in the type of the factors, sums of those in
    float64, chunk after chunk.

    Args:
        out: [channels, rows, length], flat: the gradient of the input.
        values, offsets, bounds: of the transposed non-zeros, as for `gather`.
        g: the gradient of the output, with zeros around it where offsets reach.
        x: the input.
        shape: of `out`.
        steps: origin, plane and row of `x`, row of `g`.
        ahead: of `g`, as for `gather`.

    Returns:
        [non-zeros], in the order of `values`.
    """
    channels, rows, length = shape
    before, offsets = np.empty((4, 0), x.dtype), offsets[None]
    chunks = int(count_chunks(rows, length))
    items = chunks * -(-channels // BLOCK)
    if threads == 1 or items == 1:
        sums = np.zeros((1, len(values)))
        both_items(
            out, values, offsets, bounds, sums, g, x, before, out[:0], (0, 0, 0), False, shape, steps, ahead, 0, items
        )
        return sums[0]
    sums = np.zeros((chunks, len(values)))
    set_threads(threads)
    _both_threads(
        out, values, offsets, bounds, sums, g, x, before, out[:0], (0, 0, 0), False, shape, steps, ahead, items,
        min(threads, items),
    )  # fmt: skip
    total = sums[0]
    for part in sums[1:]:
        total += part
    return total
