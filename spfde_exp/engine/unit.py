"""A convolution with the batch norm, residual addition and ReLU that follow it, as one step of autograd.

Between two of them, what the batch norm makes need not be kept: whoever reads it makes it again from the result of the
convolution, row by row.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spfde_exp.engine.conv import Source, checked, gradient_rows
from spfde_exp.engine.kernels import Floats, Ints
from spfde_exp.engine.layout import border_of, empty, to_layout
from spfde_exp.engine.norm import check_count
from spfde_exp.engine.structure import Rows, Structure
from spfde_exp.engine.unit_kernels import backward, forward

__all__ = ["Norm", "conv_norm", "conv_pending", "finished"]


class Norm(NamedTuple):
    """Parameters and running statistics of a batch norm, all [channels], and its counter of batches, one int64."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    momentum: float = 0.1
    eps: float = 1e-5
    batches: Tensor | None = None


def conv_norm(
    x: Tensor,
    weight: Tensor,
    structure: Structure,
    norm: Norm,
    *,
    training: bool,
    residual: Tensor | None = None,
    relu: bool = False,
    border: int = 1,
    readers: int = 1,
    before: Floats | None = None,
    opened: bool = False,
) -> tuple[Tensor, ...]:
    """`batch_norm(sparse_conv2d(x, weight, structure), ...)` of stride 1, with all gradients.

    The arguments are those of `spfde_exp.engine.conv.sparse_conv2d` and `spfde_exp.engine.norm.batch_norm`, which say
    what is allowed; results are theirs to rounding, and the same bits with any number of threads (those of torch). It
    gains most where weights have few non-zeros, and calls from Python take as long as kernels do.

    Args:
        readers: 1, or 2 for the result twice, in the same memory, which neither reader may write to: so their gradients
            are added on the way back without a pass of its own.
        before: what is yet to be done to `x`, if `conv_pending` made it.
        opened: whether the only reader is a `conv_pending` with `through`, so that the gradient comes with zeros where
            ReLU is shut: it is that of the residual, too.

    Raises:
        ValueError: what they refuse, or tensors of other shapes or types, as the kernels are given addresses only.
    """
    weight = _checked(x, weight, structure, norm, training, before)
    shape = x.shape[0], structure.shape[0], *x.shape[2:]
    if residual is not None and (residual.shape != shape or residual.dtype != x.dtype):
        raise ValueError(f"the residual {tuple(residual.shape)} is not {shape} of {x.dtype}")
    settings = _Settings(training, relu, border, readers, before, None, opened, through=False)
    results: tuple[Tensor, ...] = _Unit.apply(x, weight, norm.weight, norm.bias, residual, structure, norm, settings)
    return results


def conv_pending(
    x: Tensor,
    weight: Tensor,
    structure: Structure,
    norm: Norm,
    *,
    training: bool,
    relu: bool = False,
    before: Floats | None = None,
    through: bool = False,
) -> tuple[Any, ...]:
    """`conv_norm` but for its result, which only one other reads and makes as it goes: less to write, keep and read.

    Args:
        through: give `x`, the result of ReLU, back as well for whoever else reads it, in the same memory if it is in
            the layout. The gradient of `x` is the sum of both, zero where ReLU was shut: whoever made `x` needs no pass
            for either.

    Returns:
        The result of the convolution, whose gradient is that of the result of the batch norm and ReLU; what that other
        is to be given as `before`, [4, channels]; and `x` if it is to go `through`.

    Raises:
        ValueError: as `conv_norm`; an `x` that is yet to be made is to go `through`.
    """
    if through and before is not None:
        raise ValueError("what `before` says is yet to be done to `x`: it cannot go through")
    weight = _checked(x, weight, structure, norm, training, before)
    after = np.empty((4, structure.shape[0]), np.float32 if x.dtype == torch.float32 else np.float64)
    settings = _Settings(training, relu, 0, 1, before, after, opened=False, through=through)
    results: tuple[Tensor, ...] = _Unit.apply(x, weight, norm.weight, norm.bias, None, structure, norm, settings)
    return results[0], after, *results[1:]


def finished(x: Tensor, before: Floats) -> Tensor:
    """What `conv_pending` has left to its reader, done: for whoever has no kernel that does it."""
    result: Tensor = _Finished.apply(x, before)
    return result


class _Finished(torch.autograd.Function):
    """The gradient is that of the result, as `conv_pending` has it."""

    @staticmethod
    def forward(_: Any, x: Tensor, before: Floats) -> Tensor:
        mean, scale, bias, lowest = torch.from_numpy(before)[..., None, None]
        return torch.maximum((x - mean) * scale + bias, lowest)

    @staticmethod
    def backward(_: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def _checked(
    x: Tensor, weight: Tensor, structure: Structure, norm: Norm, training: bool, before: Floats | None
) -> Tensor:
    """`weight`, without holes in its memory.

    Raises:
        ValueError: as `conv_norm`.
    """
    weight = checked(x, weight, structure, 1)
    check_count(x, training)
    channels = structure.shape[0]
    for tensor in norm[:4]:
        if tensor.shape != (channels,) or tensor.dtype != x.dtype or not tensor.is_contiguous():
            raise ValueError(f"batch norm is to be of {channels} contiguous {x.dtype}, as the convolution")
    if before is not None:
        made = before.shape == (4, structure.inputs) and before.itemsize == x.itemsize and border_of(x) == 0
        if not (made and before.flags.c_contiguous):
            raise ValueError("`x` and `before` are not of one `conv_pending`")
    return weight


class _Settings(NamedTuple):
    """How `_Unit` computes; `before` and `after`, [4, channels], are what is to be done to its input and its result.

    `opened` and `through` are those of `conv_norm` and `conv_pending`.
    """

    training: bool
    relu: bool
    border: int
    readers: int
    before: Floats | None
    after: Floats | None
    opened: bool
    through: bool


class _Geometry(NamedTuple):
    """Where the numbers of a tensor [N, C, H, W] in the layout lie in its padded buffer."""

    size: int
    origin: int
    plane: int
    row: int


def _geometry(n: int, channels: int, height: int, width: int, border: int) -> _Geometry:
    row = (width + 2 * border) * n
    plane = (height + 2 * border) * row
    return _Geometry(channels * plane, border * (row + n), plane, row)


class _Plan(NamedTuple):
    """What the kernels are told in every step: made once per mask, shape and borders."""

    places: Ints
    offsets: Ints  # [1, non-zeros], or of a ring of rows, [kernel, non-zeros]
    bounds: Ints
    ahead: tuple[int, int, int]
    numbers: tuple[int, ...]  # of the forward pass
    out: _Geometry
    residual: _Geometry
    z_grad: _Geometry
    position: Ints
    back_rows: Rows
    back_ahead: tuple[int, int, int]
    x: _Geometry


def _plan(
    structure: Structure, strides: tuple[int, ...], shape: torch.Size, x_border: int, residual_border: int, border: int,
    pending: bool,
) -> _Plan:  # fmt: skip
    key = "unit", strides, shape, x_border, residual_border, border, pending
    found: _Plan | None = structure.plans.get(key)
    if found is not None:
        return found
    n, inputs, h, w = shape
    outputs, _, kernel, _ = structure.shape
    padding = kernel // 2
    x, out = _geometry(n, inputs, h, w, x_border), _geometry(n, outputs, h, w, border)
    residual, z_grad = _geometry(n, outputs, h, w, residual_border), _geometry(n, outputs, h, w, padding)
    source = Source(x.plane, x.row, n, x_border - padding, 1)
    back = Source(z_grad.plane, z_grad.row, n, 0, 1)
    entries, back_rows = gradient_rows(structure, back, 1, (0, 0))
    numbers = (
        outputs, h, w * n, x.row, structure.shape.numel(), x.size, out.size, residual.size,
        *out[1:], *residual[1:], inputs, padding * n, kernel,
    )  # fmt: skip
    rows = _ring_rows(structure, n, w) if pending else source.rows(structure)
    plan = _Plan(
        structure.places(strides),
        np.atleast_2d(rows.offsets),
        rows.bounds,
        (0, 0, 0) if pending else source.ahead(inputs, kernel),
        numbers,
        out,
        residual,
        z_grad,
        entries.position,
        back_rows,
        back.ahead(outputs, kernel),
        x,
    )
    structure.plans[key] = plan
    return plan


def _ring_rows(structure: Structure, n: int, width: int) -> Rows:
    """What is read of a ring of as many lines of the input as the kernel has, [lines, channels, width + 2 padding, N].

    Offsets are [kernel, non-zeros]: for the first line of the output, the second and so on, and again from the first.
    """
    kernel = structure.shape[2]
    row = (width + 2 * (kernel // 2)) * n
    ring = Source(row, row, n, 0, 1)

    def make() -> Ints:
        entries = structure.entries
        lines = (np.arange(kernel)[:, None] + entries.row - kernel // 2) % kernel
        return (lines * structure.inputs + entries.channel) * row + entries.column * n

    return structure.rows(("ring", ring), structure.entries, make, ring.planes_at_once(structure))


def _twin(x: Tensor) -> Tensor:
    """`x` once more. No view, to autograd: two tensors that happen to lie in the same place."""
    return x.new_empty(0).set_(x.untyped_storage(), x.storage_offset(), x.shape, x.stride())


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        scale: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        structure: Structure,
        norm: Norm,
        settings: _Settings,
    ) -> tuple[Tensor, ...]:
        training, relu, border, readers, before, after, opened, through = settings
        x = to_layout(x, structure.shape[2] // 2 if before is None else 0)
        x_border = border_of(x) or 0
        residual_border = 0
        if residual is not None:
            residual = to_layout(residual)
            residual_border = border_of(residual) or 0
        n, _, h, w = x.shape
        plan = _plan(structure, weight.stride(), x.shape, x_border, residual_border, border, before is not None)
        channels = structure.shape[0]
        z = empty(n, channels, h, w, dtype=x.dtype)
        y = None if after is not None else empty(n, channels, h, w, border=border, dtype=x.dtype, clear=False)
        size = x.itemsize
        added = 0 if residual is None else residual.data_ptr() - size * plan.residual.origin
        values = np.empty(structure.count, np.float32 if size == 4 else np.float64)
        moments, nothing = np.empty((2, channels)), np.empty((4, 0), values.dtype)
        before = nothing if before is None else before
        forward(
            values, plan.places, plan.offsets, plan.bounds, plan.ahead, before, nothing if after is None else after,
            plan.numbers,
            (
                x.data_ptr() - size * plan.x.origin, weight.data_ptr(), z.data_ptr(),
                0 if y is None else y.data_ptr() - size * plan.out.origin, added, scale.data_ptr(), bias.data_ptr(),
                norm.running_mean.data_ptr(), norm.running_var.data_ptr(),
                norm.batches.data_ptr() if norm.batches is not None and training else 0,
            ),
            moments[0], moments[1], norm.eps, norm.momentum, training, relu, threads=torch.get_num_threads(),
        )  # fmt: skip
        # Where ReLU is open is told from z, unless a residual was added behind it.
        ctx.save_for_backward(x, z, y if relu and residual is not None and not opened else None, weight, scale, bias)
        ctx.kept = structure, plan, values, before, moments, norm.eps, training, relu, opened, through
        ctx.set_materialize_grads(False)
        if through:
            twin = _twin(x)
            if not ctx.needs_input_grad[0]:  # or else its reader would compute a gradient for nobody
                ctx.mark_non_differentiable(twin)
            return z, twin
        if y is None:
            return (z,)
        return (y, _twin(y)) if readers == 2 else (y,)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        x, z, y, weight, scale, bias = ctx.saved_tensors
        structure, plan, values, before, moments, eps, training, relu, opened, through = ctx.kept
        needs = ctx.needs_input_grad
        passed = grads[1] if through else None
        given = [to_layout(grad) for grad in grads[: 1 if through else 2] if grad is not None]
        if not given:
            return (None if passed is None else torch.where(x <= 0, 0, passed), *[None] * (len(needs) - 1))
        grad, other = given[0], given[1] if len(given) == 2 else None
        n, channels, h, w = grad.shape
        g = _geometry(n, channels, h, w, border_of(grad) or 0)
        o = g if other is None else _geometry(n, channels, h, w, border_of(other) or 0)
        passed = None if passed is None else to_layout(passed)
        p = _Geometry(0, 0, 0, 0)
        if passed is not None:
            p = _geometry(n, structure.inputs, h, w, border_of(passed) or 0)
        size = grad.itemsize
        z_grad = empty(n, channels, h, w, border=structure.shape[2] // 2, dtype=grad.dtype, clear=False)
        x_grad = residual_grad = weight_grad = None
        # What `before` makes of x is at hand only where its gradient is computed.
        if needs[0] or (needs[1] and before.size):
            x_grad = empty(n, structure.inputs, h, w, dtype=grad.dtype)
        if needs[4] and opened:
            residual_grad = grad  # in the same memory: nobody writes to a gradient that is given to it
        elif needs[4]:
            residual_grad = empty(n, channels, h, w, dtype=grad.dtype)
        if needs[1]:  # in the weight's own strides, so that autograd takes it as it is
            weight_grad = grad.new_zeros(weight.numel()).as_strided(weight.shape, weight.stride())
        norm_grads = grad.new_empty(2, channels)
        groups = structure.groups
        backward(
            values, plan.places, plan.position, plan.back_rows.offsets, plan.back_rows.bounds, plan.back_ahead, before,
            plan.offsets[0], groups.first, groups.size, groups.channel,
            (
                channels, h, w * n, plan.x.row, weight.numel(), plan.x.size, plan.out.size, g.size, o.size,
                plan.z_grad.size, structure.inputs, *g[1:], *o[1:], *plan.out[1:], *plan.z_grad[1:],
                *plan.x[1:3], *p,
            ),
            (
                grad.data_ptr() - size * g.origin,
                0 if y is None else y.data_ptr() - size * plan.out.origin,
                z.data_ptr(),
                x.data_ptr() - size * plan.x.origin, scale.data_ptr(),
                z_grad.data_ptr() - size * plan.z_grad.origin,
                0 if x_grad is None else x_grad.data_ptr(),
                0 if residual_grad is None or opened else residual_grad.data_ptr(),
                0 if weight_grad is None else weight_grad.data_ptr(),
                0 if other is None else other.data_ptr() - size * o.origin,
                bias.data_ptr(), 0 if passed is None else passed.data_ptr() - size * p.origin,
            ),
            norm_grads.numpy(), moments[0], moments[1], eps, training, relu and not opened, through,
            threads=torch.get_num_threads(),
        )  # fmt: skip
        return x_grad, weight_grad, norm_grads[0], norm_grads[1], residual_grad, None, None, None
