"""Fused batch norm against PyTorch's three operations in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spfde_exp.engine.layout import border_of, to_layout
from spfde_exp.engine.norm import batch_norm
from spfde_exp.train.device import exact

ROUNDINGS = 4  # the worst of 50,000 random shapes was 1.9


def leaves(n: int, c: int, h: int, w: int, dtype: torch.dtype) -> list[Tensor]:
    """Input, weight, bias, residual."""
    random = torch.Generator().manual_seed(n + 100 * c + h + w)
    shapes: list[tuple[int, ...]] = [(n, c, h, w), (c,), (c,), (n, c, h, w)]
    made = [torch.randn(shape, dtype=dtype, generator=random) for shape in shapes]
    made[0] = 2 * made[0] + 3
    return made


def statistics(c: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.linspace(-1, 1, c, dtype=dtype), torch.linspace(0.5, 2, c, dtype=dtype)


def plain(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, mean: Tensor, var: Tensor, training: bool,
          relu: bool) -> Tensor:  # fmt: skip
    y = F.batch_norm(x, mean, var, weight, bias, training, 0.1, 1e-5)
    y = y if residual is None else y + residual
    return F.relu(y) if relu else y


def per_channel(t: Tensor) -> Tensor:
    """Largest magnitude in each."""
    return t.abs().amax((0, 2, 3)) if t.dim() == 4 else t.abs()


def parts(inputs: list[Tensor], mean: Tensor, var: Tensor, grad: Tensor, training: bool) -> list[Tensor | None]:
    """Per channel, the largest number that each result is added up from, as its error is a multiple of that.

    Where a channel's deviation is small next to its mean, its results are much smaller than their parts.
    """
    x, weight, bias = inputs[:3]
    running = torch.maximum(mean.abs(), per_channel(x)), torch.maximum(var, per_channel(x) ** 2)
    if training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    deviation = (var + 1e-5).sqrt()
    wide = per_channel(x - mean.view(-1, 1, 1)) / deviation  # of the normalised input
    far = wide + mean.abs() / deviation  # the mean is rounded, and the deviation with it
    slope, total, scale = per_channel(grad), grad.abs().sum((0, 2, 3)), weight.abs() / deviation
    result = weight.abs() * far * (1 + wide) + bias.abs()
    added = per_channel(inputs[3]) if len(inputs) == 4 else None
    return [
        result if added is None else result + added,
        scale * slope * (1 + wide * far) if training else scale * slope,
        total * far,
        total,
        None if added is None else slope,
        *running,
    ]


@given(
    n=st.integers(2, 40),
    c=st.integers(1, 9),
    h=st.integers(1, 6),
    w=st.integers(1, 6),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    training=st.booleans(),
    relu=st.booleans(),
    add=st.booleans(),
    border=st.sampled_from([0, 1]),
)
def test_as_three_operations(
    n: int, c: int, h: int, w: int, dtype: torch.dtype, training: bool, relu: bool, add: bool, border: int
) -> None:
    inputs = [t.requires_grad_() for t in leaves(n, c, h, w, dtype)][: 4 if add else 3]
    doubles = [t.detach().double().requires_grad_() for t in inputs]
    ours, theirs = statistics(c, dtype), statistics(c, torch.float64)
    x, weight, bias = inputs[:3]
    residual = inputs[3] if add else None
    y = batch_norm(x, *ours, weight, bias, training=training, residual=residual, relu=relu, border=border)
    true = plain(*doubles[:3], doubles[3] if add else None, *theirs, training, relu)
    grad = torch.randn(true.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sizes = parts([t.detach() for t in doubles], *statistics(c, torch.float64), grad, training)
    within = ROUNDINGS * torch.finfo(dtype).eps
    if relu:  # a number next to zero may be on its other side
        grad[true.abs() < within * sizes[0].view(-1, 1, 1)] = 0
    results = [y, *torch.autograd.grad(y, inputs, grad.to(dtype)), *ours]
    expected = [true, *torch.autograd.grad(true, doubles, grad), *theirs]
    assert border_of(y) == border
    for one, other, size in zip(results, expected, [s for s in sizes if s is not None], strict=True):
        assert (per_channel(one - other) <= within * size).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("relu", [True, False])
def test_gradients_by_finite_differences(training: bool, relu: bool) -> None:
    inputs = [t.requires_grad_() for t in leaves(3, 2, 3, 2, torch.float64)]

    def function(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        mean, var = statistics(2, torch.float64)
        return batch_norm(x, mean, var, weight, bias, training=training, residual=residual, relu=relu)

    assert torch.autograd.gradcheck(function, inputs)


def test_nothing_is_copied_in_the_layout_and_borders_stay_zero() -> None:
    x, weight, bias, residual = leaves(4, 3, 5, 5, torch.float32)
    x, residual = to_layout(x, 1).requires_grad_(), to_layout(residual, 1).requires_grad_()
    y = batch_norm(x, *statistics(3, x.dtype), weight, bias, training=True, residual=residual, relu=True)
    x_grad, residual_grad = torch.autograd.grad(y, (x, residual), torch.ones_like(y))
    assert [border_of(t) for t in (y, x_grad, residual_grad)] == [1, 1, 0]


def test_the_same_bits_with_more_threads() -> None:
    def results() -> list[Tensor]:
        inputs = [t.requires_grad_() for t in leaves(9, 7, 6, 5, torch.float32)]
        y = batch_norm(inputs[0], *statistics(7, torch.float32), *inputs[1:3], training=True, residual=inputs[3])
        return [y, *torch.autograd.grad(y, inputs, inputs[3].detach())]

    with exact(1, "fp32"):
        one = results()
    with exact(3, "fp32"):
        three = results()
    assert all(map(torch.equal, one, three))


def test_nan_is_not_hidden_by_relu() -> None:
    x, weight, bias, _ = leaves(4, 2, 2, 2, torch.float32)
    x[0, 1, 0, 0] = torch.nan
    y = batch_norm(x, *statistics(2, x.dtype), weight, bias, training=True, relu=True)
    assert y[:, 1].isnan().all()
    assert not y[:, 0].isnan().any()


def test_one_number_per_channel_is_refused() -> None:
    x, weight, bias, _ = leaves(1, 2, 1, 1, torch.float32)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        batch_norm(x, *statistics(2, x.dtype), weight, bias, training=True)
