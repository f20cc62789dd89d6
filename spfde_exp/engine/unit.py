"""A convolution with the batch norm, residual addition and ReLU that follow it, as one step of autograd.

Between two of them, what the batch norm makes need not be kept: whoever reads it makes it again from the result of the
convolution, row by row.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spfde_exp.engine.conv import checked
from spfde_exp.engine.kernels import Floats
from spfde_exp.engine.layout import border_of, empty, to_layout
from spfde_exp.engine.norm import check_count
from spfde_exp.engine.structure import Structure
from spfde_exp.engine.unit_gradients import BackNumbers, BackTensors, backward
from spfde_exp.engine.unit_kernels import Tensors, forward
from spfde_exp.engine.unit_plan import geometry_of, plan_of

__all__ = ["Norm", "Pending", "conv_norm", "conv_pending", "finished"]


class Norm(NamedTuple):
    """Parameters and running statistics of a batch norm, all [channels], and its counter of batches, one int64."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    momentum: float = 0.1
    eps: float = 1e-5
    batches: Tensor | None = None


class Pending:
    """What a convolution leaves to the one who reads its result: its batch norm and ReLU, and sums of the gradient.

    Attributes:
        affine: [4, channels], what `spfde_exp.engine.affine.normalise_row` is to do.
    """

    def __init__(self, affine: Floats) -> None:
        self.affine = affine
        self._found: tuple[Tensor, int, int, Floats] | None = None

    def keep_sums(self, grad: Tensor, z: Tensor, sums: Floats) -> None:
        """Remember sums over the rows of `grad`, which the reader of `z` sends back.

        Args:
            sums: [2, rows, channels] those of the gradient, and of its products with the distances of `z` from the
                mean.
        """
        self._found = None if grad.is_inference() else (grad, grad._version, z.data_ptr(), sums)

    def sums_of(self, grad: Tensor, z: Tensor) -> Floats | None:
        """Those of this very gradient and `z`, if nobody has written to it since that PyTorch knows of; once."""
        found, self._found = self._found, None
        if found and found[0] is grad and found[1] == grad._version and found[2] == z.data_ptr():
            return found[3]
        return None


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
    before: Pending | None = None,
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
    before: Pending | None = None,
    through: bool = False,
) -> tuple[Any, ...]:
    """`conv_norm` but for its result, which only one other reads and makes as it goes: less to write, keep and read.

    Args:
        through: give `x`, the result of ReLU, back as well for whoever else reads it, in the same memory if it is in
            the layout. The gradient of `x` is the sum of both, zero where ReLU was shut: whoever made `x` needs no pass
            for either.

    Returns:
        The result of the convolution, whose gradient is that of the result of the batch norm, behind ReLU; what that
        other is to be given as `before`; and `x` if it is to go `through`.

    Raises:
        ValueError: as `conv_norm`; an `x` that is yet to be made is to go `through`.
    """
    if through and before is not None:
        raise ValueError("what `before` says is yet to be done to `x`: it cannot go through")
    weight = _checked(x, weight, structure, norm, training, before)
    after = Pending(np.empty((4, structure.shape[0]), np.float32 if x.dtype == torch.float32 else np.float64))
    settings = _Settings(training, relu, 0, 1, before, after, opened=True, through=through)
    results: tuple[Tensor, ...] = _Unit.apply(x, weight, norm.weight, norm.bias, None, structure, norm, settings)
    return results[0], after, *results[1:]


def finished(x: Tensor, before: Pending) -> Tensor:
    """What `conv_pending` has left to its reader, done: for whoever has no kernel that does it."""
    result: Tensor = _Finished.apply(x, before.affine)
    return result


class _Finished(torch.autograd.Function):
    """The gradient is that of the result behind ReLU, as `conv_pending` has it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, affine: Floats) -> Tensor:
        mean, scale, bias, lowest = torch.from_numpy(affine)[..., None, None]
        value = (x - mean) * scale + bias
        ctx.save_for_backward(value <= lowest)
        return torch.maximum(value, lowest)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (shut,) = ctx.saved_tensors
        return grad.masked_fill(shut, 0), None


def _checked(
    x: Tensor, weight: Tensor, structure: Structure, norm: Norm, training: bool, before: Pending | None
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
        affine = before.affine
        made = affine.shape == (4, structure.inputs) and affine.itemsize == x.itemsize and border_of(x) == 0
        if not (made and affine.flags.c_contiguous):
            raise ValueError("`x` and `before` are not of one `conv_pending`")
    return weight


class _Settings(NamedTuple):
    """How `_Unit` computes; `before` and `after` are what is to be done to its input and its result.

    `opened` and `through` are those of `conv_norm` and `conv_pending`; to the latter, gradients always come opened.
    """

    training: bool
    relu: bool
    border: int
    readers: int
    before: Pending | None
    after: Pending | None
    opened: bool
    through: bool


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
        residual = None if residual is None else to_layout(residual)
        borders = border_of(x) or 0, 0 if residual is None else border_of(residual) or 0, border
        n, _, h, w = x.shape
        plan = plan_of(structure, weight.stride(), x.shape, borders, before is not None)
        channels = structure.shape[0]
        z = empty(n, channels, h, w, dtype=x.dtype)
        y = None if after is not None else empty(n, channels, h, w, border=border, dtype=x.dtype, clear=False)
        values = np.empty(structure.count, np.float32 if x.itemsize == 4 else np.float64)
        moments, nothing = np.empty((2, channels)), np.empty((4, 0), values.dtype)
        forward(
            values, plan.places, plan.offsets, plan.bounds, plan.ahead,
            nothing if before is None else before.affine, nothing if after is None else after.affine, plan.numbers,
            Tensors(
                plan.x.address(x), weight.data_ptr(), z.data_ptr(), plan.out.address(y),
                plan.residual.address(residual), scale.data_ptr(), bias.data_ptr(), norm.running_mean.data_ptr(),
                norm.running_var.data_ptr(),
                norm.batches.data_ptr() if norm.batches is not None and training else 0,
            ),
            moments[0], moments[1], norm.eps, norm.momentum, training, relu, threads=torch.get_num_threads(),
        )  # fmt: skip
        # Where ReLU is open is told from z, unless a residual was added behind it.
        ctx.save_for_backward(x, z, y if relu and residual is not None and not opened else None, weight, scale, bias)
        shut = relu and not opened  # or else zeros are there already where ReLU is shut
        ctx.kept = structure, plan, values, before, after, moments, norm.eps, training, shut, opened, through
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
        structure, plan, values, before, after, moments, eps, training, relu, opened, through = ctx.kept
        needs = ctx.needs_input_grad
        passed = grads[1] if through else None
        known = None if after is None or grads[0] is None else after.sums_of(grads[0], z)
        given = [to_layout(grad) for grad in grads[: 1 if through else 2] if grad is not None]
        if not given:
            return (None if passed is None else torch.where(x <= 0, 0, passed), *[None] * (len(needs) - 1))
        grad, other = given[0], given[1] if len(given) == 2 else None
        n, channels, h, w = grad.shape
        inputs = structure.inputs
        passed = None if passed is None else to_layout(passed)
        g, o, p = (geometry_of(tensor) for tensor in (grad, grad if other is None else other, passed))
        x_grad = residual_grad = weight_grad = None
        if needs[0] or needs[1]:  # one pass makes both
            x_grad = empty(n, inputs, h, w, dtype=grad.dtype)
        if needs[4] and opened:
            residual_grad = grad  # in the same memory: nobody writes to a gradient that is given to it
        elif needs[4]:
            residual_grad = empty(n, channels, h, w, dtype=grad.dtype)
        if needs[1]:  # in the weight's own strides, so that autograd takes it as it is
            weight_grad = grad.new_zeros(weight.numel()).as_strided(weight.shape, weight.stride())
        norm_grads = grad.new_empty(2, channels)
        found = np.empty((2, h, inputs) if before is not None and needs[0] else (2, 0, 0))
        backward(
            values, plan.back_places, plan.position, plan.back_rows.bounds, plan.back_rows.offsets,
            np.empty((4, 0), values.dtype) if before is None else before.affine,
            np.empty((2, 0, 0)) if known is None else known, found,
            plan.numbers,
            BackNumbers(*g, *o, *p),
            BackTensors(
                g.address(grad), plan.out.address(y), z.data_ptr(), plan.x.address(x), scale.data_ptr(),
                0 if x_grad is None else x_grad.data_ptr(),
                0 if residual_grad is None or opened else residual_grad.data_ptr(),
                0 if weight_grad is None else weight_grad.data_ptr(),
                o.address(other), bias.data_ptr(), p.address(passed),
            ),
            norm_grads.numpy(), moments[0], moments[1], eps, training, relu, through,
            threads=torch.get_num_threads(),
        )  # fmt: skip
        if not needs[0]:
            x_grad = None
        elif before is not None:
            before.keep_sums(x_grad, x, found)
        return x_grad, weight_grad, norm_grads[0], norm_grads[1], residual_grad, None, None, None
