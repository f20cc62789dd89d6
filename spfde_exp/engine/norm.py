"""Batch norm, the addition of a residual and ReLU in one pass over the layout of the engine, and one back."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spfde_exp.engine.kernels import Floats
from spfde_exp.engine.layout import empty, padded
from spfde_exp.engine.norm_kernels import backward, forward

__all__ = ["batch_norm", "check_count"]

_At = tuple[int, int, int]


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    residual: Tensor | None = None,
    relu: bool = False,
    border: int = 1,
) -> Tensor:
    """`F.batch_norm`, then `+ residual` if there is one, then ReLU if asked for, with all gradients.

    Running statistics are updated in training as PyTorch does. Sums of a channel are of float64; results are the same
    bits each time, with any number of threads (those of torch). Only first derivatives.

    Args:
        x: [N, C, H, W] on the CPU, float32 or float64; without a copy if it is in the layout.
        residual: of the shape and type of `x`.
        border: of the result, and of the gradient of `x`, which a convolution reads.

    Returns:
        [N, C, H, W], in the layout.

    Raises:
        ValueError: in training, a channel has only one number, as `F.batch_norm`.
    """
    check_count(x, training)
    mean, variance = (t.detach().numpy().astype(np.float64) for t in (running_mean, running_var))
    result: Tensor = _BatchNorm.apply(x, weight, bias, residual, mean, variance, training, eps, relu, border)
    if training:
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            running_mean.lerp_(torch.from_numpy(mean).to(running_mean), momentum)
            running_var.lerp_(torch.from_numpy(variance * (count / (count - 1))).to(running_var), momentum)
    return result


def check_count(x: Tensor, training: bool) -> None:
    """Raise ValueError where the variance of a channel cannot be told, as `F.batch_norm` does."""
    if training and x.numel() == x.shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        mean: Floats,
        variance: Floats,
        training: bool,
        eps: float,
        relu: bool,
        border: int,
    ) -> Tensor:
        n, channels, h, w = x.shape
        y = empty(n, channels, h, w, border=border, dtype=x.dtype, clear=False)
        source, out = padded(x), padded(y)
        added = source if residual is None else padded(residual)
        forward(
            _flat(out), _place(out, w), _flat(source), _place(source, w), _flat(added), _place(added, w), (h, w * n),
            weight.detach().numpy(), bias.detach().numpy(), mean, variance, eps, (training, residual is not None, relu),
            channels=channels, threads=torch.get_num_threads(),
        )  # fmt: skip
        again = residual is None  # faster than to read it
        ctx.save_for_backward(source, weight, bias, y if relu and not again else None)
        ctx.settings = x.shape, mean, variance, training, eps, relu, border, again
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        source, weight, bias, y = ctx.saved_tensors
        (n, channels, h, w), mean, variance, training, eps, relu, border, again = ctx.settings
        g = padded(grad)
        x_grad = empty(n, channels, h, w, border=border, dtype=grad.dtype, clear=False)
        residual_grad = empty(n, channels, h, w, dtype=grad.dtype) if ctx.needs_input_grad[3] else None
        weight_grad, bias_grad = torch.empty_like(weight), torch.empty_like(weight)
        out = padded(x_grad)
        copy = out if residual_grad is None else padded(residual_grad)
        result = g if y is None else padded(y)
        backward(
            _flat(out), _place(out, w), _flat(copy), _place(copy, w), _flat(g), _place(g, w),
            _flat(result), _place(result, w), _flat(source), _place(source, w), (h, w * n),
            weight.detach().numpy(), bias.detach().numpy(), weight_grad.numpy(), bias_grad.numpy(), mean, variance, eps,
            (training, residual_grad is not None, relu, again),
            channels=channels, threads=torch.get_num_threads(),
        )  # fmt: skip
        return x_grad, weight_grad, bias_grad, residual_grad, None, None, None, None, None, None


def _flat(buffer: Tensor) -> Floats:
    flat: Floats = buffer.view(-1).numpy()
    return flat


def _place(buffer: Tensor, width: int) -> _At:
    """Origin, plane and row of what is inside of the border."""
    plane, row, pixel, _ = buffer.stride()
    return (buffer.shape[2] - width) // 2 * (row + pixel), plane, row
