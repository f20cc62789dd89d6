"""Models of one's own, whose layers follow each other in other ways than those of the papers' networks."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.engine.network import SparseNetwork, sparse_layers
from spfde_exp.models.custom import build_custom
from tests.engine.networks import compare, engine_of, masks_of


class Odd(nn.Module):
    """Biases, a broadcast sum, an addition in place of what is used again, pre-activation, a layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1 = nn.Conv2d(8, 8, 3, padding="same")
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False)
        self.conv2 = nn.Conv2d(8, 8, 1, stride=2)
        self.conv3 = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.bn1(x).relu()
        z = self.conv1(self.conv1(y)) + x
        w = 2 * z
        w += self.bn2(z)
        z = z + w
        z = torch.relu(self.bn2(self.conv2(z)) + self.conv2(z).mean((2, 3), keepdim=True))
        z = self.bn3(self.conv3(z)) + z
        return self.classifier(z.mean((2, 3)))  # type: ignore[no-any-return]


def test_a_model_of_one_s_own() -> None:
    torch.manual_seed(0)
    model = build_custom(Odd, {}, [["first", "bn1"], ["conv1"]], 10, (3, 8, 8)).double()
    kept = masks_of(model)
    ours = copy.deepcopy(model)
    network = engine_of(ours.train(), kept)
    compare(model.train(), kept, ours, network, 8)
    for net in (model, ours):
        net.zero_grad(set_to_none=True)
    network.prepare(1, sparse_layers(ours, kept))
    compare(model, kept, ours, network, 8, frozen=1)


class Braided(nn.Module):
    """Units whose results others read, too, or that come before a residual; two of them share a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, k, padding=k // 2, bias=False) for k in (3, 3, 1, 3, 5, 3, 3))
        self.bns = nn.ModuleList(nn.BatchNorm2d(8, momentum=0.5) for _ in range(7))
        self.classifier = nn.Linear(24, 10)

    def unit(self, i: int, x: Tensor, norm: int | None = None) -> Tensor:
        return self.bns[i if norm is None else norm](self.convs[i](x))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        y = self.unit(0, x).relu()
        side = self.unit(1, x, norm=0).relu()  # between two units of which the second alone reads the first
        z = (self.unit(2, y) + side).relu()
        z = self.unit(3, z)
        z = (self.unit(4, z) + z).relu()  # its own input
        w = (self.unit(5, z) + x).relu()  # a residual first
        w = self.unit(6, w).relu()
        return self.classifier(F.pad(torch.cat([w, z, y], 1).mean((2, 3)), (0, 0)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_units_that_others_read_too(frozen: int) -> None:
    torch.manual_seed(0)
    blocks = [["first"], ["convs.0", "convs.1", "bns.0"]]
    model = build_custom(Braided, {}, blocks, 10, (3, 8, 8)).double()
    kept = masks_of(model)
    ours = copy.deepcopy(model)
    compare(model.train(), kept, ours.train(), engine_of(ours, kept, frozen), 8, frozen=frozen)


class Crossed(nn.Module):
    """Blocks whose shortcut is a convolution that is no unit, and comes first or last."""

    def __init__(self, first: bool, **shortcut: Any) -> None:
        super().__init__()
        self.first, self.alike = first, "stride" not in shortcut
        self.stem, self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.conv2, self.shortcut = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 1, **shortcut)
        self.bn, self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        by = self.shortcut(x) if self.first else None
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        by = self.shortcut(x) if by is None else by
        y = F.relu(y + by) if self.alike else F.relu(y).mean((2, 3), keepdim=True) + by
        return self.classifier(y.mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("shortcut", [{"bias": True}, {"bias": False}, {"bias": False, "stride": 2}], ids=str)
@pytest.mark.parametrize("first", [True, False])
def test_shortcuts_that_are_no_units(first: bool, shortcut: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build_custom(lambda: Crossed(first, **shortcut), {}, [["stem", "bn"]], 10, (3, 8, 8)).double()
    kept = masks_of(model)
    ours = copy.deepcopy(model)
    compare(model.train(), kept, ours.train(), engine_of(ours, kept), 8)


def test_what_looks_at_data_cannot_be_traced() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.classifier = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return self.classifier((x if x.sum() > 0 else -x).mean((2, 3)))  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match="it cannot be traced: "):
        SparseNetwork(build_custom(Looks, {}, [["conv"]], 10, (3, 8, 8)), {})
