"""A convolution that computes only with the non-zero weights, forward and in both gradients."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spfde_exp.engine.kernels import dots, gather
from spfde_exp.engine.layout import border_of, empty, padded, to_layout
from spfde_exp.engine.structure import Entries, Ints, Structure

__all__ = ["SparseConv2d", "sparse_conv2d"]


def sparse_conv2d(x: Tensor, weight: Tensor, structure: Structure, stride: int = 1) -> Tensor:
    """`F.conv2d(x, weight * kept, stride=stride, padding=kernel // 2)` for the mask of `structure`.

    Masked weights are never read, so they may hold anything, and never meet an infinite input. Every result is the
    same bits each time, with any number of threads (those of torch). Only first derivatives.

    Args:
        x: [N, I, H, W], on the CPU, float32 or float64, in any layout; without a copy if it is in that of
            `spfde_exp.engine.layout` with a border of kernel // 2.
        weight: [O, I, K, K] with K odd, of the same type.
        structure: of the mask of `weight`.
        stride: 1 or 2.

    Returns:
        [N, O, ceil(H / stride), ceil(W / stride)], in the layout, without border.

    Raises:
        ValueError: something is none of the above.
    """
    _check(x, weight, structure, stride)
    result: Tensor = SparseConv2d.apply(x, weight, structure, stride)
    return result


class SparseConv2d(torch.autograd.Function):
    """`sparse_conv2d` with its gradients; that of the weight is zero where the mask is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, structure: Structure, stride: int) -> Tensor:
        values = weight.detach().flatten()[structure.entries.index]
        source = _Source(x, structure, stride)
        n, _, h, w = x.shape
        y = empty(n, structure.shape[0], -(-h // stride), -(-w // stride), dtype=x.dtype)
        _gather_into(y, source.buffer, source.offsets(structure), values, structure.entries.starts, source.row_step)
        ctx.save_for_backward(source.buffer, values)
        ctx.structure, ctx.source, ctx.shape = structure, source, x.shape
        source.buffer = None  # saved above, where autograd can free it
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        structure, source = ctx.structure, ctx.source
        buffer, values = ctx.saved_tensors
        x_grad = w_grad = None
        if ctx.needs_input_grad[0]:
            grad = to_layout(grad, structure.shape[2] // 2)
            x_grad = _input_gradient(grad, values, structure, ctx.shape, source.stride)
        else:
            grad = to_layout(grad)
        if ctx.needs_input_grad[1]:
            w_grad = _weight_gradient(grad, buffer, structure, source)
        return x_grad, w_grad, None, None


class _Source:
    """The input as the kernels read it: rows of which each holds what one row of the output needs, contiguous.

    With stride 2, even columns of the padded input come first in each row and odd ones after them.
    """

    def __init__(self, x: Tensor, structure: Structure, stride: int) -> None:
        kernel = structure.shape[2]
        if kernel == 1 and stride == 2:  # three of four numbers are never read
            x, stride, self.stride = to_layout(x[:, :, ::2, ::2]), 1, 2
        else:
            x, self.stride = to_layout(x, kernel // 2), stride
        border = border_of(x)
        assert border is not None
        buffer = padded(x)
        self.shift = border - kernel // 2
        self.halves = stride == 2
        if self.halves:
            channels, rows, columns, n = buffer.shape
            split = buffer.new_empty(channels, rows, 2, -(-columns // 2), n)
            split[:, :, 0] = buffer[:, :, ::2]
            split[:, :, 1, : columns // 2] = buffer[:, :, 1::2]
            buffer = split
        self.buffer: Tensor | None = buffer
        self.plane, self.row, self.pixel = buffer.stride(0), buffer.stride(1), buffer.shape[-1]
        self.half = buffer.stride(2)
        self.row_step = stride * self.row

    def offsets(self, structure: Structure) -> Ints:
        """Of every non-zero, where the row begins that it takes for the first row of the output."""
        entries, key = structure.entries, ("x", self.plane, self.row, self.pixel, self.shift, self.halves)

        def make() -> Ints:
            column = entries.column + self.shift
            column = column % 2 * self.half + column // 2 * self.pixel if self.halves else column * self.pixel
            return np.ascontiguousarray(entries.channel * self.plane + (entries.row + self.shift) * self.row + column)

        return structure.offsets(key, make)


def _input_gradient(
    grad: Tensor, values: Tensor, structure: Structure, shape: tuple[int, int, int, int], stride: int
) -> Tensor:
    """The same sums over the transposed structure; for stride 2 by even and odd rows and columns, one after another."""
    buffer, border = padded(grad), border_of(grad)
    assert border is not None
    plane, row, pixel, _ = buffer.stride()
    n, channels, h, w = shape
    padding = structure.shape[2] // 2
    result = empty(n, channels, h, w, dtype=grad.dtype)
    for i in range(min(stride, h)):
        for j in range(min(stride, w)):
            # Input row stride * r + i meets output row r + (i + padding - kernel row) / stride.
            entries = structure.phase(stride, (i + padding) % stride, (j + padding) % stride)

            def make(entries: Entries = entries, i: int = i, j: int = j) -> Ints:
                rows = (i + padding - entries.row) // stride + border
                columns = (j + padding - entries.column) // stride + border
                return entries.channel * plane + rows * row + columns * pixel

            key = ("g", stride, i, j, plane, row, pixel, border)
            offsets = structure.offsets(key, make)
            part = result
            if stride > 1:
                part = empty(n, channels, len(range(i, h, stride)), len(range(j, w, stride)), dtype=grad.dtype)
            _gather_into(part, buffer, offsets, values[entries.index], entries.starts, row)
            if stride > 1:
                result[:, :, i::stride, j::stride] = part
    return result


def _gather_into(y: Tensor, source: Tensor, offsets: Ints, values: Tensor, starts: Ints, row_step: int) -> None:
    """`y` is in the layout and without border."""
    n, channels, h, w = y.shape
    shape, steps = (channels, h, w * n), (0, h * w * n, w * n, row_step)
    out = padded(y).view(-1).numpy()
    gather(out, _flat(source), offsets, values.numpy(), starts, shape, steps, torch.get_num_threads())


def _weight_gradient(grad: Tensor, source_buffer: Tensor, structure: Structure, source: _Source) -> Tensor:
    n, _, h, w = grad.shape
    border = border_of(grad)
    assert border is not None
    buffer = padded(grad)
    plane, row, pixel, _ = buffer.stride()
    sums = np.zeros(structure.count)
    steps = (border * (row + pixel), plane, row, source.row_step)
    offsets = source.offsets(structure)
    dots(
        sums, _flat(buffer), _flat(source_buffer), offsets, structure.groups, (h, w * n), steps, torch.get_num_threads()
    )
    result = grad.new_zeros(structure.shape.numel())
    result[structure.entries.index] = torch.from_numpy(sums).to(grad.dtype)
    return result.view(structure.shape)


def _flat(buffer: Tensor) -> Any:
    return buffer.view(-1).numpy()


def _check(x: Tensor, weight: Tensor, structure: Structure, stride: int) -> None:
    if weight.shape != structure.shape:
        raise ValueError(f"the structure is of a weight {tuple(structure.shape)}, not {tuple(weight.shape)}")
    _, inputs, height, width = weight.shape
    if height != width or height % 2 == 0 or stride not in (1, 2):
        raise ValueError(f"kernel {height}x{width}, stride {stride}: kernels are square and odd, strides 1 or 2")
    if x.dim() != 4 or x.shape[1] != inputs or x.numel() == 0:
        raise ValueError(f"the input {tuple(x.shape)} is not [N, {inputs}, H, W] with examples in it")
    for tensor in (x, weight):
        if tensor.device.type != "cpu" or tensor.dtype != x.dtype or x.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{tensor.dtype} on {tensor.device}: input and weight are float32 or float64 on the CPU")
