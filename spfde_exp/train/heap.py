"""Memory of freed tensors, which the C library gives back to the system step after step."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h> of glibc
LARGEST = 32 << 20  # bytes; glibc takes no higher threshold for what is mapped by itself
NEVER = -1


def keep_memory(trim: int = NEVER) -> None:
    """Keep the memory of freed tensors on the CPU for the next ones, from now on, in all of this process.

    After a backward pass glibc returns the activations' memory, and the next forward pass fetches it page by page, each
    filled with zeros: a tenth of a step (docs/performance.md). Tensors of more than `LARGEST` bytes are returned as
    before. Without glibc nothing changes.

    Args:
        trim: free bytes at the end of the heap above which they are returned; glibc's own is twice `LARGEST`, once
            tensors of that size were there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, trim)
