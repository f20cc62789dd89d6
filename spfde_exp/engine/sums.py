"""Sums over rows, in one order whatever the compiler makes of the code around them.

Lanes are summed in vectors, four of them by turns, as one alone would wait for each addition. A compiler that may
choose an order chooses another one for several threads, or on another processor.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from spfde_exp.engine.vectors import BYTES, Vectors

__all__ = ["product_sum", "row_sum", "square_sum"]

_BY_TURNS = 4

# Of a vector of sums, parts of two rows, and a vector that holds the mean in all lanes: the sums with what is added.
Term = Callable[[Vectors, Any, Any, Any, Any], Any]


def _whole_vectors(term: Term) -> Any:
    """Sum over the first `whole` numbers, a multiple of the lanes of a vector, of the rows `a` and `b`."""

    @intrinsic
    def emit(_: Any, a: Any, b: Any, mean: Any, whole: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emitted = Vectors(context, builder, signature.args[0].dtype)
            a, b = (emitted.data(*pair) for pair in zip(signature.args[:2], arguments[:2], strict=True))
            mean, whole = emitted.splat(arguments[2]), arguments[3]
            index = whole.type
            sums = [emitted.variable() for _ in range(_BY_TURNS)]

            def add(place: Any, at: Any) -> None:
                first, second = (emitted.load(builder.gep(row, [at])) for row in (a, b))
                builder.store(term(emitted, builder.load(place), first, second, mean), place)

            turn = index(_BY_TURNS * emitted.lanes)
            in_turns = builder.sub(whole, builder.srem(whole, turn))
            with cgutils.for_range_slice(builder, index(0), in_turns, turn, inc=True) as (i, _):
                for v, place in enumerate(sums):
                    add(place, builder.add(i, index(v * emitted.lanes)))
            with cgutils.for_range_slice(builder, in_turns, whole, index(emitted.lanes), inc=True) as (i, _):
                add(sums[0], i)
            first, second, third, fourth = (builder.load(place) for place in sums)
            return emitted.total(builder.fadd(builder.fadd(first, second), builder.fadd(third, fourth)))

        return a.dtype(a, b, a.dtype, types.intp), generate

    return emit


def _value(emitted: Vectors, total: Any, a: Any, _: Any, __: Any) -> ir.Value:
    return emitted.builder.fadd(total, a)


def _square(emitted: Vectors, total: Any, a: Any, _: Any, mean: Any) -> ir.Value:
    distance = emitted.builder.fsub(a, mean)
    return emitted.sum_of(total, distance, distance)


def _product(emitted: Vectors, total: Any, a: Any, b: Any, mean: Any) -> ir.Value:
    return emitted.sum_of(total, a, emitted.builder.fsub(b, mean))


_values, _squares, _products = (_whole_vectors(term) for term in (_value, _square, _product))


# mypy cannot look into compiled functions.
@njit(nogil=True, cache=True, forceinline=True)
def _whole(x):  # type: ignore[no-untyped-def]
    lanes = BYTES // x.itemsize
    return len(x) // lanes * lanes


@njit(nogil=True, cache=True, forceinline=True)
def row_sum(x):  # type: ignore[no-untyped-def]
    """Sum of `x`, contiguous, in its type."""
    whole = _whole(x)
    total = _values(x, x, x.dtype.type(0), whole)
    for i in range(whole, len(x)):
        total += x[i]
    return total


@njit(nogil=True, cache=True, forceinline=True)
def square_sum(x, mean):  # type: ignore[no-untyped-def]
    """Sum of (x - mean)^2 for a contiguous `x`, in its type, which is that of `mean`."""
    whole = _whole(x)
    total = _squares(x, x, mean, whole)
    for i in range(whole, len(x)):
        total += (x[i] - mean) * (x[i] - mean)
    return total


@njit(nogil=True, cache=True, forceinline=True)
def product_sum(x, y, mean):  # type: ignore[no-untyped-def]
    """Sum of x (y - mean) for contiguous rows, in their type, which is that of `mean`."""
    whole = _whole(x)
    total = _products(x, y, mean, whole)
    for i in range(whole, len(x)):
        total += x[i] * (y[i] - mean)
    return total
