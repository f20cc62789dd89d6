"""Memory of tensors by address, for kernels that one call from Python hands many of them."""

from typing import Any

import numba
import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from spfde_exp.engine.vectors import BYTES

__all__ = ["aligned", "flat"]


@intrinsic
def _pointer(_: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), generate


@njit(nogil=True, cache=True)
def flat(address, size, like):  # type: ignore[no-untyped-def]
    """The `size` numbers at `address`, of the type of `like`; none where the address is 0."""
    return numba.carray(_pointer(address), (size if address else 0,), like.dtype)


@njit(nogil=True, cache=True)
def aligned(size, like):  # type: ignore[no-untyped-def]
    """An undefined array of the type of `like`, none of whose vectors lies in two lines of a cache."""
    lanes = BYTES // like.itemsize
    whole = np.empty(size + lanes, like.dtype)
    start = -whole.ctypes.data % BYTES // like.itemsize
    return whole[start : start + size]
