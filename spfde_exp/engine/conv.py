"""A convolution that computes only with the non-zero weights, forward and in both gradients."""

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spfde_exp.engine.gradients import both_gradients
from spfde_exp.engine.kernels import PART, Floats, Ints, dots, gather
from spfde_exp.engine.layout import empty, padded
from spfde_exp.engine.strided import dots_apart, gather_apart, jumps
from spfde_exp.engine.structure import Entries, Rows, Structure
from spfde_exp.engine.vectors import BYTES

__all__ = ["Source", "SparseConv2d", "checked", "sparse_conv2d"]

IN_CACHE = 12000  # numbers of the input that may be read for a part of a row


def sparse_conv2d(x: Tensor, weight: Tensor, structure: Structure, stride: int = 1) -> Tensor:
    """`F.conv2d(x, weight * kept, stride=stride, padding=kernel // 2)` for the mask and the groups of `structure`.

    Masked weights are never read, so they may hold anything, and never meet an infinite input. Every result is the
    same bits each time that the same gradients are asked for, with any number of threads (those of torch). Infinities
    in the input or in the gradient of the output make other gradients NaN than they do in PyTorch. Only first
    derivatives.

    Args:
        x: [N, I, H, W], on the CPU, float32 or float64, in any layout; without a copy if it is in that of
            `spfde_exp.engine.layout` with a border of kernel // 2 and, for stride 2, N numbers are a multiple of 64
            bytes.
        weight: [O, I / groups, K, K] with K odd, of the same type; without a copy if it is contiguous or channels last.
        structure: of the mask of `weight`.
        stride: 1 or 2.

    Returns:
        [N, O, ceil(H / stride), ceil(W / stride)], in the layout, without border. For stride 2 and other
        N it is the beginning of a larger batch in the layout.

    Raises:
        ValueError: something is none of the above.
    """
    result: Tensor = SparseConv2d.apply(x, checked(x, weight, structure, stride), structure, stride)
    return result


class SparseConv2d(torch.autograd.Function):
    """`sparse_conv2d` with its gradients; that of the weight is zero where the mask is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, structure: Structure, stride: int) -> Tensor:
        values = _memory(weight.detach())[structure.places(weight.stride())]
        padding = structure.shape[2] // 2
        whole = _whole(x, padding, stride)
        buffer, source = _source(whole, padding, padding, stride)
        n, _, h, w = whole.shape
        y = empty(n, structure.shape[0], -(-h // stride), -(-w // stride), dtype=x.dtype)
        _gather_into(_memory(y), y.shape, _memory(buffer), source.rows(structure), values, source, structure)
        ctx.save_for_backward(buffer)
        ctx.structure, ctx.shape, ctx.source, ctx.values = structure, x.shape, source, values
        ctx.weight_strides = weight.stride()
        return _first_of(y, x.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        structure: Structure = ctx.structure
        padding = structure.shape[2] // 2
        to_input, to_weight = ctx.needs_input_grad[:2]
        w_grad = None
        (buffer,) = ctx.saved_tensors
        stride = ctx.source.stride
        border = padding if to_input else 0
        g, g_source = _source(_whole(grad, border, stride), border, padding, 1)
        x_grad, sums, places = None, None, structure.places(ctx.weight_strides)
        if to_input and to_weight and stride == 1:
            x_grad, sums, position = _gradients(g, g_source, ctx.values, structure, ctx.shape, buffer, ctx.source)
            places = places[position]
        elif to_input:
            x_grad = _input_gradient(g, g_source, ctx.values, structure, ctx.shape, stride)
        if to_weight:
            if sums is None:
                sums = _sums(g, grad.shape, buffer, ctx.source, structure)
            # In the weight's own strides, so that autograd takes it as it is.
            w_grad = g.new_zeros(structure.shape.numel()).as_strided(structure.shape, ctx.weight_strides)
            _memory(w_grad)[places] = sums
        return x_grad, w_grad, None, None


class Source(NamedTuple):
    """Strides of a buffer that is read, [planes, rows, pixels of a row, N]."""

    plane: int
    row: int
    pixel: int
    shift: int  # rows and columns before those that the first non-zero of a kernel takes for the first output
    stride: int  # rows and pixels of the buffer from one of the output to the next

    def rows(self, structure: Structure) -> Rows:
        """Of every non-zero, where the row begins that it takes for the first row of the output."""

        def make() -> Ints:
            entries = structure.entries
            row, column = entries.row + self.shift, entries.column + self.shift
            return entries.channel * self.plane + row * self.row + column * self.pixel

        return structure.rows(self, structure.entries, make, self.planes_at_once(structure))

    def ahead(self, planes: int, kernel: int) -> tuple[int, int, int]:
        """What `gather` is told to fetch for rows after the first."""
        return planes, self.plane, (self.shift + kernel) * self.row + self.shift * self.pixel

    def planes_at_once(self, structure: Structure) -> int:
        """Of how many planes what a part of a row takes stays in the first cache."""
        kernel = structure.shape[2]
        part = PART * BYTES // 4
        return max(1, IN_CACHE // (kernel * (self.stride * part + (kernel - 1) * self.pixel)))


def _whole(x: Tensor, border: int, stride: int) -> Tensor:
    """`x`, filled up with examples of zeros where `strided` takes only batches of whole vectors."""
    n, lanes = x.shape[0], BYTES // x.itemsize
    if stride == 1 or n % lanes == 0:
        return x
    whole = empty(-(-n // lanes) * lanes, *x.shape[1:], border=border, dtype=x.dtype)
    whole[:n] = x.detach()
    whole[n:] = 0
    return whole


def _source(x: Tensor, border: int, padding: int, stride: int) -> tuple[Tensor, Source]:
    """The buffer of `x` with such a border or a wider one, and its strides for a kernel of so much padding."""
    buffer = padded(x, border)
    plane, row, pixel, _ = buffer.stride()
    found = (buffer.shape[2] - x.shape[3]) // 2
    return buffer, Source(plane, row, pixel, found - padding, stride)


def _input_gradient(
    g: Tensor, source: Source, values: Floats, structure: Structure, shape: torch.Size, stride: int
) -> Tensor:
    """The same sums over the transposed structure; for stride 2 by even and odd rows and columns, one after another."""
    n, channels, h, w = shape
    result = empty(g.shape[3], channels, h, w, dtype=g.dtype)
    out, read = _memory(result), _memory(g)
    for first in product(range(min(stride, h)), range(min(stride, w))):
        entries, rows = _gradient_rows(structure, source, stride, first)
        _gather_into(out, result.shape, read, rows, values[entries.position], source, structure, first, stride)
    return _first_of(result, n)


def _gradients(
    g: Tensor, g_source: Source, values: Floats, structure: Structure, shape: torch.Size, buffer: Tensor, source: Source
) -> tuple[Tensor, Floats, Ints]:
    """`_input_gradient`, and `_sums` with the positions of their weights, for stride 1."""
    n, channels, h, w = shape
    entries, rows = _gradient_rows(structure, g_source, 1, (0, 0))
    result = empty(*shape, dtype=g.dtype)
    border = source.shift + structure.shape[2] // 2
    steps = border * (source.row + source.pixel), source.plane, source.row, g_source.row
    sums = both_gradients(
        _memory(result), values[entries.position], rows.offsets, rows.bounds, _memory(g), _memory(buffer),
        shape=(channels, h, w * n), steps=steps,
        ahead=g_source.ahead(structure.shape[0], structure.shape[2]), threads=torch.get_num_threads(),
    )  # fmt: skip
    return result, sums, entries.position


def _gradient_rows(structure: Structure, source: Source, stride: int, first: tuple[int, int]) -> tuple[Entries, Rows]:
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


def _gather_into(
    out: Floats,
    shape: torch.Size,
    x: Floats,
    rows: Rows,
    values: Floats,
    source: Source,
    structure: Structure,
    first: tuple[int, int] = (0, 0),
    step: int = 1,
) -> None:
    """Fill the pixels that begin at `first` and are `step` apart in `out`, the memory of a tensor of that shape.

    The tensor is in the layout and without border.
    """
    n, channels, h, w = shape
    threads = torch.get_num_threads()
    if source.stride == step == 1:
        gather(
            out, x, rows.offsets, values, rows.bounds, shape=(channels, h, w * n),
            steps=(0, h * w * n, w * n, source.row),
            ahead=source.ahead(len(x) // source.plane, structure.shape[2]), threads=threads,
        )  # fmt: skip
        return
    i, j = first
    lines, pixels = len(range(i, h, step)), len(range(j, w, step))
    vectors = jumps(pixels, n, step * n, x.itemsize), jumps(pixels, n, source.stride * n, x.itemsize)
    gather_apart(
        out, x, rows.offsets, values, rows.bounds, vectors, shape=(channels, lines),
        steps=((i * w + j) * n, h * w * n, step * w * n, source.stride * source.row), threads=threads,
    )  # fmt: skip


def _sums(g: Tensor, grad_shape: torch.Size, buffer: Tensor, source: Source, structure: Structure) -> Floats:
    """Gradient of every non-zero weight."""
    h, w = grad_shape[2:]
    plane, row, n, _ = g.stride()
    border = (g.shape[2] - w) // 2
    steps = border * (row + n), plane, row, source.stride * source.row
    sums, threads = np.zeros(structure.count), torch.get_num_threads()
    factors, offsets, groups = (_memory(g), _memory(buffer)), source.rows(structure).offsets, structure.groups
    if source.stride == 1:
        dots(sums, *factors, offsets, groups, shape=(h, w * n), steps=steps, threads=threads)
    else:
        vectors = jumps(w, n, source.stride * n, g.itemsize)
        dots_apart(sums, *factors, offsets, groups, vectors, rows=h, steps=steps, threads=threads)
    return sums


def _first_of(x: Tensor, n: int) -> Tensor:
    return x if x.shape[0] == n else x[:n]


def _memory(x: Tensor) -> Floats:
    """The numbers of a tensor without holes, in the order in which they lie in memory."""
    flat: Floats = x.as_strided((x.numel(),), (1,)).numpy()
    return flat


def checked(x: Tensor, weight: Tensor, structure: Structure, stride: int) -> Tensor:
    """`weight`, without holes in its memory.

    Raises:
        ValueError: `sparse_conv2d` cannot compute with this.
    """
    if weight.shape != structure.shape:
        raise ValueError(f"the structure is of a weight {tuple(structure.shape)}, not {tuple(weight.shape)}")
    inputs, height, width = structure.inputs, *weight.shape[2:]
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
