"""The images that are looked at, and what a model's layers make of them."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spfde_exp.hooks.cka import Kernel
from spfde_exp.hooks.representations import Representations, probe_indices


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=40), st.integers(4, 50))
def test_the_images_are_balanced_and_the_same_every_time(labels: list[int], count: int) -> None:
    chosen = probe_indices(torch.tensor(labels), count)
    places = chosen.tolist()
    assert places == sorted(set(places)) and len(places) == min(count, len(labels))
    assert torch.equal(chosen, probe_indices(torch.tensor(labels), count))
    taken, there = Counter(labels[place] for place in places), Counter(labels)
    most = max(taken.values())
    # only a class that is used up has fewer than one less than the most
    assert all(taken[label] >= min(there[label], most - 1) for label in there)


def test_more_classes_than_images() -> None:
    labels = torch.arange(1000).repeat(5)
    assert len(labels[probe_indices(labels, 256)].unique()) == 256


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 3)
    )


def test_outputs_of_the_layers_in_evaluation_mode(net: nn.Sequential) -> None:
    images = torch.randn(6, 1, 6, 6)
    net(torch.randn(50, 1, 6, 6) + 2)  # moves the running statistics
    state = {name: value.clone() for name, value in net.state_dict().items()}
    told = Representations(net, ["0", "4"], images).kernels(state)
    net.eval()
    with torch.no_grad():
        first = net[0](images)
        assert torch.equal(told["0"].values, Kernel(first).values)
        assert torch.equal(told["4"].values, Kernel(net(images)).values)


def test_another_state_is_looked_at_and_the_model_stays(net: nn.Sequential) -> None:
    images = torch.randn(6, 1, 6, 6)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net[1].eval()
    looking = Representations(net, ["0"], images)
    random = torch.get_rng_state()
    other = looking.kernels({**before, "0.weight": before["0.weight"] + 1})
    assert not torch.equal(other["0"].values, looking.kernels(before)["0"].values)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training and net[0].training and not net[1].training
    assert torch.equal(torch.get_rng_state(), random)
    assert not net[0]._forward_hooks
