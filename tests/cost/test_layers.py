"""Forward costs of layers, by hand and on the papers' network."""

import torch
from torch import Tensor, nn

from spfde_exp.cost.layers import Layer, block_of, measure_layers
from spfde_exp.models import build


class Twice(nn.Module):
    """Uses one convolution twice, and another never."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.unused = nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))  # type: ignore[no-any-return]


def test_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(36, 5))
    layers = measure_layers(model, (2, 6, 6), [("first", ["0"])])
    assert layers == [
        Layer("0", 0, weights=72, positions=9, outputs=36, shape=(4, 2, 3, 3)),
        Layer("2", None, weights=180, positions=1, outputs=5, shape=(5, 36)),
    ]
    assert [layer.macs for layer in layers] == [648, 180]


def test_a_shared_layer_counts_each_use_and_an_unused_one_none() -> None:
    layers = measure_layers(Twice(), (1, 4, 4), [])
    assert [(layer.positions, layer.outputs) for layer in layers] == [(32, 32), (0, 0)]


def test_groups_have_fewer_weights_per_position() -> None:
    (layer,) = measure_layers(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4)), (4, 5, 5), [])
    assert layer.macs == 4 * 9 * 25


def test_conv_macs_of_resnet32() -> None:
    model = build("resnet32", 2, 100, 3)
    layers = measure_layers(model, (3, 32, 32), model.blocks())
    assert sum(layer.macs for layer in layers if layer.name != "classifier") == 275_611_648
    assert [layer.macs for layer in layers if layer.block is None] == [12_800]
    assert [layer.block for layer in layers[:4]] == [0, 0, 0, 1]  # the stem belongs to the first block
    assert len(layers) == 34 and layers[-2].block == 14


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = build("resnet14", 0.5, 10, 1)
    model.train()
    model.stem.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rng = torch.get_rng_state()
    measure_layers(model, (1, 8, 8), model.blocks())
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), rng)


def test_block_of_takes_whole_names() -> None:
    blocks = [("one", ["stem", "stage1.1"]), ("two", ["stage1.10"])]
    assert block_of("stem.conv.weight", blocks) == 0
    assert block_of("stage1.1.conv1", blocks) == 0
    assert block_of("stage1.10.conv1", blocks) == 1
    assert block_of("stage1", blocks) is None and block_of("stemmed.conv", blocks) is None
