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

__all__ = ["IDLE", "LEAST", "MOST", "Pool", "take"]

LEAST, MOST = 1 << 16, 1 << 24  # bytes: smaller ones stay in a cache without help, larger ones leave it anyway
IDLE = 1024  # tensors; a step makes some hundreds

_Memory = npt.NDArray[Any]
_Key = tuple[int, torch.dtype]


class Pool:
    """Memory on the CPU that no tensor has any more; the last that came back goes first.

    Attributes:
        free: by size and type, with the number of tensors that had been taken when it came back.
        taken: tensors so far.
    """

    def __init__(self) -> None:
        self.free: dict[_Key, list[tuple[int, _Memory]]] = {}
        self.taken = 0

    def take(self, size: int, dtype: torch.dtype) -> Tensor:
        """`torch.empty(size, dtype=dtype)`, in memory that comes back here when the last tensor in it is gone.

        What has been free for `IDLE` tensors and more, as of another size of batch, goes back to the system.
        """
        self.taken += 1
        if self.taken % IDLE == 0:
            self._drop_idle()
        key = size, dtype
        try:
            memory = self.free[key].pop()[1]
        except (KeyError, IndexError):
            memory = torch.empty(size, dtype=dtype).numpy()
        lent = memory.view(_Lent)
        lent.home = self, key, memory
        return torch.from_numpy(lent)

    def _drop_idle(self) -> None:
        since = self.taken - IDLE
        for stack in list(self.free.values()):
            with suppress(IndexError):  # another thread may have taken the last
                while stack[0][0] <= since:
                    del stack[0]


class _Lent(np.ndarray[Any, Any]):
    """The array behind a tensor, alive as long as the tensor's memory is."""

    home: tuple[Pool, _Key, _Memory] | None = None

    def __del__(self) -> None:
        if self.home is not None:
            pool, key, memory = self.home
            pool.free.setdefault(key, []).append((pool.taken, memory))


_POOL = Pool()


def take(size: int, dtype: torch.dtype) -> Tensor:
    """`torch.empty(size, dtype=dtype)` on the CPU; from the pool of this process, if of `LEAST` to `MOST` bytes."""
    if LEAST <= size * dtype.itemsize <= MOST:
        return _POOL.take(size, dtype)
    return torch.empty(size, dtype=dtype)
