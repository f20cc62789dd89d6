"""Shrinking: the network without its dead channels, computed as the whole one in double precision."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from spfde_exp.cost.layers import measure_layers
from spfde_exp.inference.channels import AddChannels, ReadChannels
from spfde_exp.inference.fold import folded
from spfde_exp.inference.shrink import shrunk
from spfde_exp.models import build
from spfde_exp.sparse.layers import prunable_weights
from spfde_exp.sparse.masks import Masks

TOLERANCE = 1e-5  # of the largest output


def traced(net: nn.Module) -> fx.GraphModule:
    return fx.symbolic_trace(net.eval())


def agree(module: fx.GraphModule, side: int = 6, channels: int = 3) -> fx.GraphModule:
    """The shrunk module, which computes what `module` does in double precision and leaves it alone."""
    before = copy.deepcopy(module.state_dict())
    smaller = shrunk(module, (channels, side, side))
    with torch.no_grad():
        for size, layout in ((1, torch.contiguous_format), (3, torch.channels_last)):
            x = torch.randn(size, channels, side, side).contiguous(memory_format=layout)
            given_x = x.clone()
            expected = copy.deepcopy(module).double()(x.double())
            torch.testing.assert_close(
                smaller(x).double(), expected, rtol=0, atol=TOLERANCE * max(float(expected.abs().max()), 1e-3)
            )
            assert torch.equal(x, given_x), "the input is overwritten"
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    return smaller


def sizes(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Name -> (filters, input channels) of each convolution."""
    return {n: (m.out_channels, m.in_channels) for n, m in module.named_modules() if isinstance(m, nn.Conv2d)}


def kill(conv: nn.Module, filters: object = None, channels: object = None) -> None:
    assert isinstance(conv, nn.Conv2d)
    with torch.no_grad():
        if filters is not None:
            conv.weight[filters] = 0
        if channels is not None:
            conv.weight[:, channels] = 0


class Two(nn.Module):
    """Two convolutions with an activation between them."""

    def __init__(self, between: nn.Module, padding: int = 1, stride: int = 1, hidden: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, hidden, 3, padding=1)
        self.between = between
        self.second = nn.Conv2d(hidden, 5, 3, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.between(self.first(x)))
        return y


def test_filters_that_nobody_reads_are_dropped() -> None:
    net = Two(nn.ReLU(inplace=True))
    kill(net.second, channels=[0, 3, 4])
    assert sizes(agree(traced(net))) == {"first": (5, 3), "second": (5, 5)}


@pytest.mark.parametrize("between", [nn.Identity(), nn.ReLU(), nn.SiLU(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)])
def test_constants_reach_the_borders_as_before(between: nn.Module) -> None:
    """Padding is zero, not the constant: at the border a constant channel counts less."""
    net = Two(between)
    kill(net.first, filters=[1, 2, 6, 7])
    nn.init.ones_(net.first.bias)
    assert sizes(agree(traced(net))) == {"first": (5, 3), "second": (5, 5)}  # one channel stands for four


def test_constants_that_the_activation_makes_zero_cost_nothing() -> None:
    net = Two(nn.ReLU())
    kill(net.first, filters=[1, 2, 6, 7])
    nn.init.constant_(net.first.bias, -1.0)
    assert sizes(agree(traced(net))) == {"first": (4, 3), "second": (5, 4)}


def test_counts_between_multiples_of_16_are_filled() -> None:
    net = Two(nn.ReLU(), hidden=64)
    kill(net.second, channels=list(range(30)))  # 34 are read
    assert sizes(agree(traced(net)))["first"] == (48, 3)
    kill(net.second, channels=list(range(50)))  # 14 are read
    assert sizes(agree(traced(net)))["first"] == (14, 3)


def test_all_dead() -> None:
    net = Two(nn.ReLU())
    kill(net.first, filters=slice(None))
    assert sizes(agree(traced(net)))["first"] == (1, 1)
    kill(net.second, channels=slice(None))
    agree(traced(net))


class Depthwise(nn.Module):
    """An inverted residual block whose input is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 1)
        self.expand = nn.Conv2d(6, 12, 1)
        self.middle = nn.Conv2d(12, 12, 3, 2, 1, groups=12)
        self.project = nn.Conv2d(12, 6, 1)
        self.shortcut = nn.Conv2d(6, 6, 1, 2)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        y = self.act(self.middle(self.act(self.expand(x))))
        out: Tensor = self.project(y) + self.shortcut(x)
        return out


def test_depthwise_convolutions_shrink_with_their_neighbours() -> None:
    net = Depthwise()
    kill(net.middle, filters=[0, 1, 2, 3])  # constants for the projection: nobody needs their expansion
    kill(net.expand, filters=[4, 5])  # seen through the depthwise convolution these are no constants
    kill(net.project, channels=[6])
    with torch.no_grad():
        net.expand.bias[4], net.expand.bias[5] = 1.0, -1.0  # but where the activation makes them zero
        net.middle.bias.fill_(0.5)
    smaller = sizes(agree(traced(net)))
    assert smaller["expand"] == (7, 6)  # 4, 7 to 11, and one that stands for 0 to 3 and 5
    assert smaller["middle"] == (7, 7)
    assert smaller["project"] == (6, 7)


class Residual(nn.Module):
    """A residual block of 32 channels, and layers of `kernel`."""

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.conv1 = nn.Conv2d(32, 32, kernel, padding=kernel // 2)
        self.conv2 = nn.Conv2d(32, 32, kernel, padding=kernel // 2)
        self.last = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = self.conv2(torch.relu(self.conv1(x)))
        y = torch.relu(y + x)
        out: Tensor = self.last(y.mean((2, 3)))
        return out


def test_residual_sums_are_read_and_written_in_part() -> None:
    net = Residual()
    kill(net.conv1, channels=list(range(20)))
    kill(net.conv2, filters=list(range(4, 32)))
    smaller = agree(traced(net))
    assert sizes(smaller) == {"stem": (32, 3), "conv1": (32, 12), "conv2": (4, 32)}
    assert isinstance(smaller.get_submodule("conv1_reads"), ReadChannels)
    assert isinstance(smaller.get_submodule("conv2_into"), AddChannels)


def test_what_does_not_pay_stays() -> None:
    net = Residual()
    kill(net.conv1, channels=list(range(12)))  # 20 of 32 are read
    kill(net.conv2, filters=list(range(12)))
    assert sizes(agree(traced(net))) == sizes(net)
    small = Residual(kernel=1)
    kill(small.conv1, channels=list(range(20)))  # would pay at 3x3
    assert sizes(agree(traced(small))) == sizes(small)
    kill(small.conv1, channels=list(range(24)))
    assert sizes(agree(traced(small)))["conv1"] == (32, 8)


class SumReadLater(Residual):
    """The stream is needed after the sum, so that nothing can be added into it."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = torch.relu(self.conv2(torch.relu(self.conv1(x))) + x)
        out: Tensor = self.last((y * x).mean((2, 3)))
        return out


class InputAsStream(nn.Module):
    """The stream is the caller's own tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Identity()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x) + self.same(x)
        return out


class Overwritten(Two):
    """An activation in place, where another layer reads the same memory."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = torch.relu_(y)
        out: Tensor = self.second(y) + self.second(z)
        return out


class Watched(Two):
    """Somebody else looks at the hidden channels."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        out: Tensor = self.second(y) + y.softmax(1).sum((1, 2, 3), keepdim=True)
        return out


class Tied(Two):
    """A weight with a second use."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x)) * self.second.weight.mean() + self.first.weight.sum()
        return out


class Grouped(Two):
    """A reader whose filters read different channels."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU())
        self.second = nn.Conv2d(8, 4, 3, groups=2)


@pytest.mark.parametrize("net", [SumReadLater(), InputAsStream()], ids=lambda net: type(net).__name__)
def test_nothing_is_added_into_what_others_still_need(net: nn.Module) -> None:
    for conv in net.modules():
        if isinstance(conv, nn.Conv2d) and conv.in_channels > 3:
            kill(conv, filters=slice(3, None))
    module = traced(net)
    smaller = agree(module, channels=next(m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d)))
    assert not any(isinstance(part, AddChannels) for part in smaller.modules())


@pytest.mark.parametrize(
    "net", [Overwritten(nn.ReLU()), Watched(nn.ReLU()), Tied(nn.ReLU()), Grouped()], ids=lambda net: type(net).__name__
)
def test_what_is_not_understood_is_left_alone(net: Two) -> None:
    kill(net.first, filters=[0, 1, 2, 3, 4])
    kill(net.second, channels=[1])
    assert sizes(agree(traced(net))) == sizes(net)


flags = st.lists(st.booleans(), min_size=40, max_size=40)


@given(
    first=flags, second=flags, stride=st.sampled_from((1, 2)), padding=st.sampled_from((0, 1, 2)),
    hidden=st.sampled_from((4, 17, 40)), mode=st.sampled_from(("zeros", "reflect")), seed=st.integers(0, 9),
    between=st.sampled_from((nn.ReLU, nn.ReLU6, nn.GELU, nn.LeakyReLU, nn.Sigmoid)),
)  # fmt: skip
@settings(max_examples=40)
def test_any_masks_in_a_chain(
    first: list[bool], second: list[bool], stride: int, padding: int, hidden: int, mode: str, seed: int, between: type
) -> None:
    torch.manual_seed(seed)
    net = Two(between(), padding, stride, hidden)
    net.second.padding_mode = mode
    net.second._reversed_padding_repeated_twice = [padding] * 4
    kill(net.first, filters=torch.tensor(first[:hidden]))
    kill(net.second, channels=torch.tensor(second[:hidden]))
    agree(traced(net))


@given(conv1=flags, conv2=flags, more=flags, kernel=st.sampled_from((1, 3)), seed=st.integers(0, 9))
@settings(max_examples=30)
def test_any_masks_around_a_sum(conv1: list[bool], conv2: list[bool], more: list[bool], kernel: int, seed: int) -> None:
    torch.manual_seed(seed)
    net = Residual(kernel)
    kill(net.conv1, channels=torch.tensor(conv1[:32]), filters=torch.tensor(more[:32]))
    kill(net.conv2, filters=torch.tensor(conv2[:32]), channels=torch.tensor(more[:31:-1] + more[8:32]))
    agree(traced(net))


CASES = [
    (name, width, scheme)
    for name, width in (("resnet14", 1), ("vgg19", 0.25), ("mobilenet_v2", 0.25), ("resnet18", 1))
    for scheme in ("filter", "channel")
    if (name, scheme) != ("mobilenet_v2", "channel")  # refused: depthwise filters have one channel
]


@pytest.mark.parametrize(("name", "width", "scheme"), CASES)
def test_trained_models(name: str, width: float, scheme: str) -> None:
    """Every family, with batch norms that have seen something, loses FLOPs and keeps names and outputs."""
    torch.manual_seed(0)
    model = build(name, width, 10, 3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
    masks = Masks(prunable_weights(model, "convs_but_first"), 0.7, scheme=scheme, tolerance=None)
    masks.init_random(0.7, torch.Generator().manual_seed(0))
    whole = folded(model)
    smaller = agree(whole, side=16)
    assert set(sizes(smaller)) == set(sizes(whole))
    macs = [sum(layer.macs for layer in measure_layers(m, (3, 16, 16), [])) for m in (whole, smaller)]
    assert macs[1] < 0.4 * macs[0]
    agree(folded(model, 3), side=16)


def test_dense_and_unstructured_models_stay_as_they_are() -> None:
    model = build("resnet14", 1, 10, 3)
    masks = Masks(prunable_weights(model, "convs_but_first"), 0.5)
    masks.init_random(0.5, torch.Generator().manual_seed(0))
    whole = folded(model)
    assert sizes(shrunk(whole, (3, 16, 16))) == sizes(whole)
