"""Sparse convolutions against PyTorch's in float64, over shapes, strides, densities and batches."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spfde_exp.engine.conv import sparse_conv2d
from spfde_exp.engine.layout import border_of, to_layout
from spfde_exp.engine.structure import Structure
from spfde_exp.train.device import exact

WITHIN = {torch.float64: 1e-12, torch.float32: 1e-5}  # of the largest number of a result


def results(x: Tensor, weight: Tensor, kept: Tensor, stride: int, grad: Tensor) -> list[Tensor]:
    """Output, gradient of the input, gradient of the weight."""
    leaves = [t.detach().requires_grad_() for t in (x, weight)]
    y = sparse_conv2d(*leaves, Structure(kept), stride)
    return [y, *torch.autograd.grad(y, leaves, grad)]


def truth(x: Tensor, weight: Tensor, kept: Tensor, stride: int, grad: Tensor) -> list[Tensor]:
    leaves = [t.detach().double().requires_grad_() for t in (x, weight)]
    y = F.conv2d(leaves[0], leaves[1] * kept, stride=stride, padding=weight.shape[2] // 2)
    return [y, *torch.autograd.grad(y, leaves, grad.double())]


def case(
    n: int, inputs: int, outputs: int, h: int, w: int, kernel: int, stride: int, density: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, int, Tensor]:
    random = torch.Generator().manual_seed(n + 41 * inputs + 1009 * outputs + h + w)
    x = torch.randn(n, inputs, h, w, dtype=dtype, generator=random)
    weight = torch.randn(outputs, inputs, kernel, kernel, dtype=dtype, generator=random)
    kept = torch.rand(weight.shape, generator=random) < density
    grad = torch.randn(n, outputs, -(-h // stride), -(-w // stride), dtype=dtype, generator=random)
    return x, weight, kept, stride, grad


def assert_close(ours: list[Tensor], true: list[Tensor]) -> None:
    for one, other in zip(ours, true, strict=True):
        assert one.shape == other.shape
        error = (one - other).abs().max().item()
        assert error <= WITHIN[one.dtype] * max(other.abs().max().item(), 1e-30)


@settings(max_examples=100, deadline=None)
@given(
    n=st.one_of(st.integers(1, 40), st.sampled_from([8, 16, 32, 48])),  # batches of whole vectors, too
    inputs=st.integers(1, 20),
    outputs=st.integers(1, 20),
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    density=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    layout=st.sampled_from(["contiguous", "channels_last", "bare", "bordered", "wide"]),
)
def test_the_dense_result(
    n: int, inputs: int, outputs: int, h: int, w: int, kernel: int, stride: int, density: float, dtype: torch.dtype,
    layout: str,
) -> None:  # fmt: skip
    x, weight, kept, stride, grad = case(n, inputs, outputs, h, w, kernel, stride, density, dtype)
    expected = truth(x, weight, kept, stride, grad)
    if layout == "channels_last":
        x, grad = (t.to(memory_format=torch.channels_last) for t in (x, grad))
    elif layout != "contiguous":
        x, grad = (to_layout(t, {"bare": 0, "bordered": 2, "wide": 3}[layout]) for t in (x, grad))
    assert_close(results(x, weight, kept, stride, grad), expected)


@pytest.mark.parametrize(("channels", "size"), [(32, 32), (64, 16), (128, 8)])
@pytest.mark.parametrize("stride", [1, 2])
def test_layers_of_resnet32(channels: int, size: int, stride: int) -> None:
    arguments = case(8, channels, channels * stride, size, size, 3, stride, 0.1, torch.float32)
    assert_close(results(*arguments), truth(*arguments))


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("n", [1, 8, 9])
def test_gradients_by_finite_differences(kernel: int, stride: int, n: int) -> None:
    x, weight, kept, *_ = case(n, 2, 3, 3, 4, kernel, stride, 0.5, torch.float64)
    structure = Structure(kept)

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return sparse_conv2d(x, weight, structure, stride)

    assert torch.autograd.gradcheck(function, (x.requires_grad_(), weight.requires_grad_()))


@settings(max_examples=40)
@given(
    n=st.sampled_from([1, 5, 16]),
    groups=st.integers(1, 5),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    density=st.sampled_from([0.0, 0.5, 1.0]),
    channels_last=st.booleans(),
)
def test_groups(
    n: int, groups: int, inputs: int, outputs: int, kernel: int, stride: int, density: float, channels_last: bool
) -> None:
    """Each with so many channels of its own; one and one is depthwise."""
    _, weight, kept, _, grad = case(n, inputs, groups * outputs, 6, 5, kernel, stride, density, torch.float64)
    x = torch.randn(n, groups * inputs, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    if channels_last:
        weight = weight.to(memory_format=torch.channels_last)
    leaves = [t.detach().requires_grad_() for t in (x, weight)]
    y = sparse_conv2d(*leaves, Structure(kept, groups), stride)
    true = F.conv2d(leaves[0], leaves[1] * kept, stride=stride, padding=kernel // 2, groups=groups)
    ours, expected = ([out, *torch.autograd.grad(out, leaves, grad)] for out in (y, true))
    assert_close(ours, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_empty_rows_and_channels(stride: int) -> None:
    x, weight, _, stride, grad = case(5, 6, 6, 7, 8, 3, stride, 1, torch.float32)
    kept = torch.ones_like(weight, dtype=torch.bool)
    kept[2], kept[:, 3], kept[:, :, 1], kept[..., 2] = False, False, False, False
    y, x_grad, weight_grad = ours = results(x, weight, kept, stride, grad)
    expected = truth(x, weight, kept, stride, grad)
    assert_close(ours, expected)
    assert (y[:, 2] == 0).all()
    assert (x_grad[:, 3] == 0).all()
    assert (weight_grad[~kept] == 0).all()


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (1, 2), (3, 2), (5, 2)])
@pytest.mark.parametrize("n", [32, 33])
def test_the_same_bits_again_and_with_more_threads(n: int, kernel: int, stride: int) -> None:
    arguments = case(n, 20, 24, 9, 7, kernel, stride, 0.3, torch.float32)
    with exact(1, "fp32"):
        once, again = results(*arguments), results(*arguments)
    with exact(3, "fp32"):
        threaded = results(*arguments)
    assert all(map(torch.equal, once, again))
    assert all(map(torch.equal, once, threaded))


def test_an_example_does_not_depend_on_its_batch() -> None:
    x, weight, kept, stride, _ = case(32, 8, 8, 4, 4, 3, 1, 0.3, torch.float64)
    whole = sparse_conv2d(x, weight, Structure(kept), stride)
    for n in (1, 3, 17):
        torch.testing.assert_close(sparse_conv2d(x[:n], weight, Structure(kept), stride), whole[:n])


def test_with_stride_2_examples_have_the_same_bits_in_every_batch() -> None:
    """Even in those that are filled up to whole vectors."""
    x, weight, kept, stride, grad = case(32, 8, 8, 9, 6, 3, 2, 0.3, torch.float32)
    y, x_grad, _ = results(x, weight, kept, stride, grad)
    for n in (1, 16, 17):
        ours = results(x[:n], weight, kept, stride, grad[:n])
        assert torch.equal(ours[0], y[:n])
        assert torch.equal(ours[1], x_grad[:n])


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("n", "h", "w"), [(16, 6, 8), (16, 7, 5), (5, 7, 5), (16, 1, 4), (16, 4, 1)])
def test_with_stride_2_every_number_is_written(kernel: int, n: int, h: int, w: int) -> None:
    """Memory that is not is NaN in this mode; a kernel of 1x1 reaches one input of four."""
    arguments = case(n, 6, 5, h, w, kernel, 2, 0.2, torch.float32)
    expected = truth(*arguments)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(1).isnan()
        ours = results(*arguments)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_close(ours, expected)
    if kernel == 1:
        assert not ours[1][:, :, 1::2].any() and not ours[1][..., 1::2].any()


def test_masked_weights_are_never_read() -> None:
    x, weight, kept, stride, grad = case(3, 4, 4, 5, 5, 3, 1, 0.3, torch.float32)
    expected = truth(x, weight, kept, stride, grad)
    assert_close(results(x, weight.masked_fill(~kept, torch.nan), kept, stride, grad), expected)


def test_weights_may_change_before_the_gradient_is_asked_for() -> None:
    """The gradient is that of the weights which made the output."""
    x, weight, kept, stride, grad = case(3, 4, 4, 5, 5, 3, 1, 0.5, torch.float64)
    leaf = x.clone().requires_grad_()
    y = sparse_conv2d(leaf, weight, Structure(kept), stride)
    original = weight.clone()
    weight.zero_()
    (ours,) = torch.autograd.grad(y, leaf, grad)
    torch.testing.assert_close(ours, truth(x, original, kept, stride, grad)[1])


def test_layouts_stay_and_only_needed_gradients_are_made() -> None:
    x, weight, kept, stride, grad = case(4, 4, 6, 5, 5, 3, 1, 0.5, torch.float32)
    inside = to_layout(x, 1).requires_grad_()
    y = sparse_conv2d(inside, weight, Structure(kept), stride)
    assert border_of(y) == 0
    (x_grad,) = torch.autograd.grad(y, inside, grad)
    assert border_of(x_grad) == 0
    leaf = weight.clone().requires_grad_()
    y = sparse_conv2d(x, leaf, Structure(kept), stride)
    y.backward(grad)
    assert leaf.grad is not None and leaf.grad.shape == weight.shape


@pytest.mark.parametrize(
    ("x", "weight", "stride", "message"),
    [
        (torch.zeros(1, 2, 4, 4), torch.zeros(3, 2, 2, 2), 1, "kernel 2x2, stride 1"),
        (torch.zeros(1, 2, 4, 4), torch.zeros(3, 2, 3, 3), 3, "kernel 3x3, stride 3"),
        (torch.zeros(1, 5, 4, 4), torch.zeros(3, 2, 3, 3), 1, r"\(1, 5, 4, 4\) is not \[N, 2, H, W\]"),
        (torch.zeros(0, 2, 4, 4), torch.zeros(3, 2, 3, 3), 1, "with examples in it"),
        (torch.zeros(1, 2, 4, 4).half(), torch.zeros(3, 2, 3, 3).half(), 1, "float16 on cpu"),
        (torch.zeros(1, 2, 4, 4), torch.zeros(3, 2, 3, 3).double(), 1, "float64 on cpu"),
    ],
)
def test_what_it_cannot_do_is_refused(x: Tensor, weight: Tensor, stride: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sparse_conv2d(x, weight, Structure(weight == 0), stride)


def test_a_structure_of_another_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"of a weight \(3, 2, 3, 3\), not \(3, 2, 1, 1\)"):
        sparse_conv2d(torch.zeros(1, 2, 4, 4), torch.zeros(3, 2, 1, 1), Structure(torch.ones(3, 2, 3, 3).bool()))
