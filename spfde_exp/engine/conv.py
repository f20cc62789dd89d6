"""A convolution that computes only with the non-zero weights, forward and in both gradients."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spfde_exp.engine.kernels import Floats, Ints, dots, gather
from spfde_exp.engine.layout import empty, padded
from spfde_exp.engine.structure import Entries, Rows, Structure

__all__ = ["Source", "SparseConv2d", "checked", "gradient_rows", "sparse_conv2d"]

PART = 128  # numbers of a row whose sums are in registers
IN_CACHE = 12000  # numbers of the input that may be read for them


def sparse_conv2d(x: Tensor, weight: Tensor, structure: Structure, stride: int = 1) -> Tensor:
    """`F.conv2d(x, weight * kept, stride=stride, padding=kernel // 2)` for the mask of `structure`.

    Masked weights are never read, so they may hold anything, and never meet an infinite input. Every result is the
    same bits each time, with any number of threads (those of torch). Only first derivatives.

    Args:
        x: [N, I, H, W], on the CPU, float32 or float64, in any layout; without a copy if it is in that of
            `spfde_exp.engine.layout` with a border of kernel // 2.
        weight: [O, I, K, K] with K odd, of the same type; without a copy if it is contiguous, or channels last.
        structure: of the mask of `weight`.
        stride: 1 or 2.

    Returns:
        [N, O, ceil(H / stride), ceil(W / stride)], in the layout, without border.

    Raises:
        ValueError: something is none of the above.
    """
    result: Tensor = SparseConv2d.apply(x, checked(x, weight, structure, stride), structure, stride)
    return result


class SparseConv2d(torch.autograd.Function):
    """`sparse_conv2d` with its gradients; that of the weight is zero where the mask is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, structure: Structure, stride: int) -> Tensor:
        n, _, h, w = x.shape
        values = _memory(weight)[structure.places(weight.stride())]
        buffer, source = _source(x, structure.shape[2], stride)
        y = empty(n, structure.shape[0], -(-h // stride), -(-w // stride), dtype=x.dtype)
        _gather_into(y, buffer, source.rows(structure), values, source)
        ctx.save_for_backward(buffer)
        ctx.structure, ctx.stride, ctx.shape, ctx.source, ctx.values = structure, stride, x.shape, source, values
        ctx.weight_strides = weight.stride()
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        structure: Structure = ctx.structure
        padding = structure.shape[2] // 2
        to_input, to_weight = ctx.needs_input_grad[:2]
        w_grad = None
        (buffer,) = ctx.saved_tensors
        g = padded(grad, padding if to_input else 0)
        x_grad = _input_gradient(g, grad.shape, ctx.values, structure, ctx.shape, ctx.stride) if to_input else None
        if to_weight:
            # In the weight's own strides, so that autograd takes it as it is.
            w_grad = g.new_zeros(structure.shape.numel()).as_strided(structure.shape, ctx.weight_strides)
            _memory(w_grad)[structure.places(ctx.weight_strides)] = _sums(g, grad.shape, buffer, ctx.source, structure)
        return x_grad, w_grad, None, None


class Source(NamedTuple):
    """Strides of a buffer of which each row holds what one row of the output needs, contiguous."""

    plane: int
    row: int
    half: int  # from the even columns of a row to its odd ones where they are apart, else 0
    pixel: int
    shift: int  # rows and columns before those that the first non-zero of a kernel takes for the first output
    stride: int  # rows of the buffer from one row of the output to the next

    def rows(self, structure: Structure) -> Rows:
        """Of every non-zero, where the row begins that it takes for the first row of the output."""

        def make() -> Ints:
            entries = structure.entries
            column = entries.column + self.shift
            column = column % 2 * self.half + column // 2 * self.pixel if self.half else column * self.pixel
            return entries.channel * self.plane + (entries.row + self.shift) * self.row + column

        return structure.rows(self, structure.entries, make, self.planes_at_once(structure))

    def planes_at_once(self, structure: Structure) -> int:
        """Of how many planes what a part of a row takes stays in the first cache."""
        kernel = structure.shape[2]
        return max(1, IN_CACHE // (kernel * (PART + (kernel - 1) * self.pixel)))


def _source(x: Tensor, kernel: int, stride: int) -> tuple[Tensor, Source]:
    """The buffer that the kernels read, and its strides; with stride 2, even columns come before odd ones."""
    if kernel == 1 and stride == 2:  # three of four numbers are never read
        x, stride = x[:, :, ::2, ::2], 1
    buffer = padded(x, kernel // 2)
    channels, rows, columns, n = buffer.shape
    shift, half = (columns - x.shape[3]) // 2 - kernel // 2, 0
    if stride == 2:
        split = buffer.new_empty(channels, rows, 2, -(-columns // 2), n)
        split[:, :, 0] = buffer[:, :, ::2]
        split[:, :, 1, : columns // 2] = buffer[:, :, 1::2]
        buffer, half = split, split.stride(2)
    return buffer, Source(buffer.stride(0), buffer.stride(1), half, n, shift, stride)


def _input_gradient(
    g: Tensor, grad_shape: torch.Size, values: Floats, structure: Structure, shape: torch.Size, stride: int
) -> Tensor:
    """The same sums over the transposed structure; for stride 2 by even and odd rows and columns, one after another."""
    plane, row, pixel, _ = g.stride()
    border = (g.shape[2] - grad_shape[3]) // 2
    n, channels, h, w = shape
    padding = structure.shape[2] // 2
    source = Source(plane, row, 0, pixel, border - padding, 1)
    result = empty(n, channels, h, w, dtype=g.dtype)
    if stride == 1:
        _gather_part(result, g, source, values, structure, stride, (0, 0))
        return result
    for i in range(min(stride, h)):
        for j in range(min(stride, w)):
            part = empty(n, channels, len(range(i, h, stride)), len(range(j, w, stride)), dtype=g.dtype)
            _gather_part(part, g, source, values, structure, stride, (i, j))
            result[:, :, i::stride, j::stride] = part
    return result


def _gather_part(
    result: Tensor,
    g: Tensor,
    source: Source,
    values: Floats,
    structure: Structure,
    stride: int,
    first: tuple[int, int],
) -> None:
    """Gradient of the inputs that begin at `first` and are `stride` apart."""
    entries, rows = gradient_rows(structure, source, stride, first)
    _gather_into(result, g, rows, values[entries.position], source)


def gradient_rows(structure: Structure, source: Source, stride: int, first: tuple[int, int]) -> tuple[Entries, Rows]:
    """The transposed non-zeros that reach such inputs, and what `gather` reads of them in a gradient at `source`."""
    padding = structure.shape[2] // 2
    # Input row stride * r + first meets output row r + (first + padding - kernel row) / stride.
    i, j = (start + padding for start in first)
    entries = structure.phase(stride, i % stride, j % stride)

    def make() -> Ints:
        border = source.shift + padding
        rows = (i - entries.row) // stride + border
        columns = (j - entries.column) // stride + border
        return entries.channel * source.plane + rows * source.row + columns * source.pixel

    key = source, stride, first
    return entries, structure.rows(key, entries, make, source.planes_at_once(structure))


def _gather_into(y: Tensor, buffer: Tensor, rows: Rows, values: Floats, source: Source) -> None:
    """`y` is in the layout and without border."""
    n, channels, h, w = y.shape
    gather(
        padded(y).view(-1).numpy(), buffer.view(-1).numpy(), rows.offsets, values, rows.bounds,
        shape=(channels, h, w * n), steps=(0, h * w * n, w * n, source.stride * source.row),
        threads=torch.get_num_threads(),
    )  # fmt: skip


def _sums(g: Tensor, grad_shape: torch.Size, buffer: Tensor, source: Source, structure: Structure) -> Floats:
    """Gradient of every non-zero weight."""
    n, _, h, w = grad_shape
    plane, row, pixel, _ = g.stride()
    border = (g.shape[2] - w) // 2
    sums = np.zeros(structure.count)
    dots(
        sums, g.view(-1).numpy(), buffer.view(-1).numpy(), source.rows(structure).offsets, structure.groups,
        shape=(h, w * n), steps=(border * (row + pixel), plane, row, source.stride * source.row),
        threads=torch.get_num_threads(),
    )  # fmt: skip
    return sums


def _memory(weight: Tensor) -> Floats:
    """The numbers of a weight, in the order in which they lie in memory."""
    flat: Floats = weight.detach().as_strided((weight.numel(),), (1,)).numpy()
    return flat


def checked(x: Tensor, weight: Tensor, structure: Structure, stride: int) -> Tensor:
    """`weight`, without holes in its memory.

    Raises:
        ValueError: `sparse_conv2d` cannot compute with this.
    """
    if weight.shape != structure.shape:
        raise ValueError(f"the structure is of a weight {tuple(structure.shape)}, not {tuple(weight.shape)}")
    _, inputs, height, width = weight.shape
    if height != width or height % 2 == 0 or stride not in (1, 2):
        raise ValueError(f"kernel {height}x{width}, stride {stride}: kernels are square and odd, strides 1 or 2")
    if x.dim() != 4 or x.shape[1] != inputs or x.numel() == 0:
        raise ValueError(f"the input {tuple(x.shape)} is not [N, {inputs}, H, W] with examples in it")
    for tensor in (x, weight):
        if not tensor.is_cpu or tensor.dtype != x.dtype or x.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{tensor.dtype} on {tensor.device}: input and weight are float32 or float64 on the CPU")
    if weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last):
        return weight
    return weight.contiguous()
