"""Steps of SGD: those of PyTorch, with any number of threads; masked weights stay at zero."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spfde_exp.engine.descent import Layer, descend

SHAPES = [(4, 3, 3, 3), (2, 5, 1, 1), (1, 1, 3, 3)]


def drawn(shape: tuple[int, ...], seed: int, kept: Tensor) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * kept


@given(
    density=st.sampled_from([0.0, 0.3, 1.0]), momentum=st.floats(0.1, 0.99), decay=st.sampled_from([0.0, 0.01]),
    nesterov=st.booleans(), rates=st.lists(st.floats(0, 1), min_size=3, max_size=3), channels_last=st.booleans(),
)  # fmt: skip
def test_they_are_those_of_pytorch(
    density: float, momentum: float, decay: float, nesterov: bool, rates: list[float], channels_last: bool
) -> None:
    random = torch.Generator().manual_seed(0)
    masks = [torch.rand(shape, generator=random) < density for shape in SHAPES]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    weights = [drawn(s, i, k).to(memory_format=layout) for i, (s, k) in enumerate(zip(SHAPES, masks, strict=True))]
    theirs = [torch.nn.Parameter(weight.clone()) for weight in weights]
    groups = [{"params": [weight], "lr": rate} for weight, rate in zip(theirs, rates, strict=True)]
    sgd = torch.optim.SGD(groups, momentum=momentum, weight_decay=decay, nesterov=nesterov, foreach=False)
    speeds = [torch.zeros_like(weight) for weight in weights]
    for step in range(3):
        gradients = [drawn(weight.shape, 10 + step, kept) for weight, kept in zip(weights, masks, strict=True)]
        gradients = [gradient.to(memory_format=layout) for gradient in gradients]
        for weight, gradient in zip(theirs, gradients, strict=True):
            weight.grad = gradient.clone()
        sgd.step()
        layers = [Layer(*of) for of in zip(weights, speeds, gradients, rates, strict=True)]
        descend(layers, momentum=momentum, decay=decay, nesterov=nesterov)
    for weight, speed, truth, kept in zip(weights, speeds, theirs, masks, strict=True):
        torch.testing.assert_close(weight, truth.detach(), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(speed, sgd.state[truth]["momentum_buffer"], rtol=1e-10, atol=1e-12)
        assert not weight[~kept].any()
        assert not speed[~kept].any()


def test_nothing_to_do() -> None:
    descend([], momentum=0.9, decay=0.0, nesterov=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_by_hand(dtype: torch.dtype) -> None:
    weight, speed, gradient = (torch.tensor(values, dtype=dtype) for values in ([1, -2], [1, 0], [1, 2]))
    descend([Layer(weight, speed, gradient, 0.5)], momentum=0.5, decay=0.25, nesterov=False)
    assert speed.tolist() == [1.75, 1.5]  # 0.5 * 1 + 1 + 0.25 * 1, and 2 - 0.25 * 2
    assert weight.tolist() == [0.125, -2.75]


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads(threads: int) -> None:
    """Also more of them than a layer has numbers."""
    results = []
    before = torch.get_num_threads()
    try:
        for number in (1, threads):
            torch.set_num_threads(number)
            layers = [Layer(*torch.randn(3, n, generator=torch.Generator().manual_seed(n)), 0.1) for n in (1, 7, 1000)]
            descend(layers, momentum=0.9, decay=0.01, nesterov=True)
            results.append([tensor.clone() for layer in layers for tensor in layer[:2]])
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*results, rtol=0, atol=0)
