"""Memory of tensors by address, for kernels that one call from Python hands many of them."""

from typing import Any

import numba
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["flat"]


@intrinsic
def _pointer(_: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), generate


@njit(nogil=True, cache=True)
def flat(address, size, like):  # type: ignore[no-untyped-def]
    """The `size` numbers at `address`, of the type of `like`; none where the address is 0."""
    return numba.carray(_pointer(address), (size if address else 0,), like.dtype)
