"""The layout of activations: channel, row, column, batch, with the batch contiguous and a zero border.

A tensor keeps its logical shape [N, C, H, W]; only its strides differ. Its memory is that of a padded buffer
[C, H + 2 b, W + 2 b, N], so that a shift by a row or a column of the kernel is a shift of the address, and a whole
image row of the whole batch, W * N numbers, is contiguous.
"""

import torch
from torch import Tensor

from spfde_exp.engine.pool import take

__all__ = ["border_of", "empty", "padded", "to_layout"]

# Elements behind a buffer for each line of its border. No operation of PyTorch makes such a storage, and a crop of a
# bordered tensor has too few for the border that its strides suggest: a border that is found is one made here, zero.
GUARD = 16


def empty(
    n: int, c: int, h: int, w: int, *, border: int = 0, dtype: torch.dtype = torch.float32, clear: bool = True
) -> Tensor:
    """A CPU tensor [N, C, H, W] in the layout: undefined inside, zero in the border.

    Without `clear`, whoever asked for it makes the border zero.
    """
    row = (w + 2 * border) * n
    plane = (h + 2 * border) * row
    memory = take(c * plane + GUARD * border, dtype)
    if border and clear:
        buffer = memory[: c * plane].view(c, h + 2 * border, w + 2 * border, n)
        for edge in (slice(border), slice(-border, None)):
            buffer[:, edge].zero_()
            buffer[:, border:-border, edge].zero_()
    return memory.as_strided((n, c, h, w), (1, plane, row, n), border * (row + n))


def border_of(x: Tensor) -> int | None:
    """Width of the zero border of a tensor [N, C, H, W] in the layout, 0 if it has none; None in another layout."""
    if x.dim() != 4 or not x.is_cpu or x.layout is not torch.strided or x.numel() == 0:
        return None
    n, c, h, w = x.shape
    batch, plane, row, pixel = x.stride()
    border = (row // n - w) // 2
    columns = w + 2 * border
    if border < 0 or (batch, pixel, row, plane) != (1, n, columns * n, (h + 2 * border) * columns * n):
        return None
    if border == 0:
        return 0
    start = border * (row + pixel)
    whole = x.storage_offset() == start and x.untyped_storage().nbytes() == x.itemsize * (c * plane + GUARD * border)
    return border if whole else None


def padded(x: Tensor, border: int = 0) -> Tensor:
    """The buffer [C, H + 2 b, W + 2 b, N] of `x`, [N, C, H, W] on the CPU, with b >= `border`.

    It is the memory of `x` where that is in the layout and has such a border, and a copy otherwise. Outside of
    autograd.
    """
    x = x.detach()
    found = border_of(x)
    if found is None or found < border:
        x, found = empty(*x.shape, border=border, dtype=x.dtype).copy_(x), border
    n, c, h, w = x.shape
    _, plane, row, pixel = x.stride()
    shape, strides = (c, h + 2 * found, w + 2 * found, n), (plane, row, pixel, 1)
    return x.as_strided(shape, strides, x.storage_offset() - found * (row + pixel))


def to_layout(x: Tensor, border: int = 0) -> Tensor:
    """`x`, [N, C, H, W] on the CPU, in the layout with a border of at least `border`.

    It is `x` itself where that is so, and a copy otherwise, through which no gradients flow.
    """
    found = border_of(x)
    if found is not None and found >= border:
        return x
    return empty(*x.shape, border=border, dtype=x.dtype).copy_(x.detach())
