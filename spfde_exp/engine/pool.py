"""Memory of activations and their gradients, which comes back while it is still in a cache.

A step makes and drops the same few sizes over and over. An allocator for all purposes cuts each from wherever there is
room: much more memory is touched than is alive, and what was written has left the cache by the time that it is read.
"""

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["IDLE", "LEAST", "MOST", "Pool", "release", "take"]

LEAST, MOST = 1 << 16, 1 << 24  # bytes: smaller ones stay in a cache without help, larger ones leave it anyway
IDLE = 1024  # tensors; a step makes some hundreds
ALIGNED = 64  # bytes, as PyTorch's own: a vector never lies in two lines of a cache

_Memory = npt.NDArray[Any]
_Key = tuple[int, torch.dtype]


class Pool:
    """Memory on the CPU that no tensor has any more; the last that came back goes first.

    Attributes:
        free: for each size and type, how many tensors had been taken when it came back, and the memory; oldest first.
        taken: tensors so far.
    """

    def __init__(self) -> None:
        self.free: dict[_Key, list[tuple[int, _Memory]]] = {}
        self.taken = 0

    def take(self, size: int, dtype: torch.dtype) -> Tensor:
        """A tensor [size] of float32 or float64, undefined, in memory that comes back here when nobody has it any more.

        It cannot be resized. Now and then, what has been free for `IDLE` tensors, as of another size of batch, is let
        go.
        """
        self.taken += 1
        if self.taken % IDLE == 0:
            self._drop_idle()
        key = size, dtype
        try:
            memory = self.free[key].pop()[1]
        except (KeyError, IndexError):
            memory = _new(size, np.float32 if dtype == torch.float32 else np.float64)
        lent = memory.view(_Lent)
        lent.home = self, key, memory
        return torch.from_numpy(lent)

    def _drop_idle(self) -> None:
        since = self.taken - IDLE
        for stack in list(self.free.values()):
            with suppress(IndexError):  # another thread may have taken the last
                while stack[0][0] <= since:
                    del stack[0]


def _new(size: int, dtype: type[np.floating[Any]]) -> _Memory:
    """Not PyTorch's, whose tensor would be counted as alive (`spfde_exp.cost.live`) for as long as the pool has it."""
    length = size * np.dtype(dtype).itemsize
    memory = np.empty(length + ALIGNED, np.uint8)
    start = -memory.ctypes.data % ALIGNED
    return memory[start : start + length].view(dtype)


class _Lent(np.ndarray[Any, Any]):
    """The array behind a tensor, alive as long as the tensor's memory is."""

    home: tuple[Pool, _Key, _Memory] | None = None

    def __del__(self) -> None:
        if self.home is not None:
            pool, key, memory = self.home
            pool.free.setdefault(key, []).append((pool.taken, memory))


_POOL = Pool()


def take(size: int, dtype: torch.dtype) -> Tensor:
    """An undefined tensor [size] of float32 or float64 on the CPU; from one pool, if of `LEAST` to `MOST` bytes."""
    if LEAST <= size * dtype.itemsize <= MOST:
        return _POOL.take(size, dtype)
    return torch.empty(size, dtype=dtype)


def release() -> None:
    """Let go of what is free in that pool, where nobody may come for it again."""
    _POOL.free.clear()
