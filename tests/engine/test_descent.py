"""Steps of SGD on kept weights: those of PyTorch, and nothing else is touched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spfde_exp.engine.descent import Layer, descend
from spfde_exp.engine.structure import Structure

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
    places = [Structure(mask).places(weight.stride()) for mask, weight in zip(masks, weights, strict=True)]
    bounds = torch.tensor([0, *map(len, places)]).cumsum(0).numpy()
    for step in range(3):
        gradients = [drawn(weight.shape, 10 + step, kept) for weight, kept in zip(weights, masks, strict=True)]
        for weight, gradient in zip(theirs, gradients, strict=True):
            weight.grad = gradient.clone()
        sgd.step()
        ours = [gradient.where(kept, torch.nan) for gradient, kept in zip(gradients, masks, strict=True)]
        ours = [gradient.to(memory_format=layout) for gradient in ours]  # masked ones are not read
        layers = [Layer(*of) for of in zip(weights, speeds, ours, rates, strict=True)]
        all_places = torch.cat([torch.from_numpy(place) for place in places]).numpy()
        descend(layers, all_places, bounds, momentum=momentum, decay=decay, nesterov=nesterov)
    for weight, speed, truth, kept in zip(weights, speeds, theirs, masks, strict=True):
        torch.testing.assert_close(weight, truth.detach(), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(speed, sgd.state[truth]["momentum_buffer"], rtol=1e-10, atol=1e-12)
        assert not weight[~kept].any()


def test_nothing_to_do() -> None:
    nothing = torch.empty(0, dtype=torch.int64).numpy()
    descend([], nothing, torch.zeros(1, dtype=torch.int64).numpy(), momentum=0.9, decay=0.0, nesterov=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_the_places_change(dtype: torch.dtype) -> None:
    weight, speed, gradient = (torch.ones(6, dtype=dtype) for _ in range(3))
    places, bounds = torch.tensor([1, 4]).numpy(), torch.tensor([0, 2]).numpy()
    descend([Layer(weight, speed, gradient, 0.5)], places, bounds, momentum=0.5, decay=0.0, nesterov=False)
    assert speed.tolist() == [1, 1.5, 1, 1, 1.5, 1]
    assert weight.tolist() == [1, 0.25, 1, 1, 0.25, 1]
