"""The layout of activations: channel, row, column, batch, with the batch contiguous and a zero border.

A tensor keeps its logical shape [N, C, H, W]; only its strides differ. Its memory is that of a padded buffer
[C, H + 2 b, W + 2 b, N], so that a shift by a row or a column of the kernel is a shift of the address, and a whole
image row of the whole batch, W * N numbers, is contiguous.
"""

import torch
from torch import Tensor

__all__ = ["border_of", "empty", "padded", "to_layout"]

# Elements behind a buffer for each line of its border. No operation of PyTorch makes such a storage, and a crop of a
# bordered tensor has too few for the border that its strides suggest: a border that is found is one made here, zero.
GUARD = 16


def empty(n: int, c: int, h: int, w: int, *, border: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """A CPU tensor [N, C, H, W] in the layout: undefined inside, zero in the border."""
    shape = (c, h + 2 * border, w + 2 * border, n)
    size = c * shape[1] * shape[2] * n
    buffer = torch.empty(size + GUARD * border, dtype=dtype)[:size].view(shape)
    if border:
        for edge in (slice(border), slice(-border, None)):
            buffer[:, edge].zero_()
            buffer[:, border:-border, edge].zero_()
    return _inside(buffer, border)


def border_of(x: Tensor) -> int | None:
    """Width of the zero border of a tensor [N, C, H, W] in the layout, 0 if it has none; None in another layout."""
    if x.dim() != 4 or x.device.type != "cpu" or x.layout != torch.strided or x.numel() == 0:
        return None
    n, c, h, w = x.shape
    batch, plane, row, pixel = x.stride()
    border = (row // n - w) // 2
    lines, columns = h + 2 * border, w + 2 * border
    if border < 0 or (batch, pixel, row, plane) != (1, n, columns * n, lines * columns * n):
        return None
    if border == 0:
        return 0
    start = border * (row + pixel)
    whole = x.storage_offset() == start and x.untyped_storage().nbytes() == x.itemsize * (c * plane + GUARD * border)
    return border if whole else None


def padded(x: Tensor) -> Tensor:
    """The buffer [C, H + 2 b, W + 2 b, N] of a tensor in the layout: the same memory.

    Raises:
        ValueError: `x` is in another layout.
    """
    border = border_of(x)
    if border is None:
        raise ValueError(f"a tensor of shape {tuple(x.shape)} and strides {x.stride()} is not batch-innermost")
    n, c, h, w = x.shape
    _, plane, row, pixel = x.stride()
    shape = (c, h + 2 * border, w + 2 * border, n)
    return x.detach().as_strided(shape, (plane, row, pixel, 1), x.storage_offset() - border * (row + pixel))


def to_layout(x: Tensor, border: int = 0) -> Tensor:
    """`x`, [N, C, H, W] on the CPU, in the layout with a border of at least `border`; a copy only where needed.

    Gradients do not flow through a copy: this is for use inside of autograd functions.
    """
    found = border_of(x)
    if found is not None and found >= border:
        return x
    copy = empty(*x.shape, border=border, dtype=x.dtype)
    return copy.copy_(x.detach())


def _inside(buffer: Tensor, border: int) -> Tensor:
    c, lines, columns, n = buffer.shape
    strides = (1, lines * columns * n, columns * n, n)
    shape = (n, c, lines - 2 * border, columns - 2 * border)
    return buffer.as_strided(shape, strides, border * (columns + 1) * n)
