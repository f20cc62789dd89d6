"""Memory of a two-layer network by hand, and MEST's Table A.1."""

import pytest
from torch import nn

from spfde_exp.cost.layers import Layer, measure_layers
from spfde_exp.cost.memory import epoch_memory, mest_memory

# conv 1 -> 4, 3x3 on 4x4: 36 weights, 64 outputs; conv 4 -> 8: 288 weights, 128 outputs; linear 8 -> 3
CONV1 = Layer("conv1", 0, weights=36, positions=16, outputs=64, rows=4)
CONV2 = Layer("conv2", 1, weights=288, positions=16, outputs=128, rows=8)
HEAD = Layer("head", None, weights=24, positions=1, outputs=3, rows=3)
LAYERS = [CONV1, CONV2, HEAD]
OTHER = {0: 8, 1: 16, None: 3}  # BN of both, bias of the head
KEPT = {"conv2": 29}


def test_dense_and_nothing_frozen() -> None:
    memory = epoch_memory(LAYERS, {}, 0, 10, OTHER)
    params = 36 + 288 + 24 + 27
    assert memory.components() == {
        "weights": 4 * params,
        "weight_gradients": 4 * params,
        "activations": 4 * 10 * 195,
        "activation_gradients": 4 * 10 * 195,
        "momentum": 4 * params,
        "indices": 0,
    }
    assert memory.figure_4 == 8 * params + 8 * 1950


def test_sparse() -> None:
    memory = epoch_memory(LAYERS, KEPT, 0, 10, OTHER)
    active = 36 + 29 + 24 + 27
    assert memory.weights == memory.weight_gradients == memory.momentum == 4 * active
    assert memory.activations == 4 * 1950  # sparsity does not shrink activations
    assert memory.indices == 2 * (29 + 8 + 1)


@pytest.mark.parametrize(
    ("frozen", "trained", "outputs"), [(0, 36 + 29 + 24 + 27, 195), (1, 29 + 24 + 19, 131), (2, 24 + 3, 3)]
)
def test_a_frozen_block_keeps_its_weights_only(frozen: int, trained: int, outputs: int) -> None:
    memory = epoch_memory(LAYERS, KEPT, frozen, 10, OTHER)
    assert memory.weights == 4 * (36 + 29 + 24 + 27)
    assert memory.weight_gradients == memory.momentum == 4 * trained
    assert memory.activations == memory.activation_gradients == 4 * 10 * outputs
    assert memory.indices == 2 * (29 + 8 + 1)


def test_a_real_network_has_these_layers() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    measured = measure_layers(model, (1, 4, 4), [("a", ["0"]), ("b", ["1"])])
    assert [(layer.weights, layer.outputs, layer.rows) for layer in measured] == [
        (layer.weights, layer.outputs, layer.rows) for layer in LAYERS
    ]


@pytest.mark.parametrize("sparsity", [0.5, 0.75])
def test_mest_table_a1(sparsity: float) -> None:
    """(1 - s)(2 N b_w + N b_index) + sum of (F + 1) b_index where masked, 2 N b_w elsewhere; in bits."""
    masked = [CONV1, CONV2]
    kept = {layer.name: int((1 - sparsity) * layer.weights) for layer in masked}
    n, rows = 36 + 288, 4 + 8
    bits = (1 - sparsity) * (2 * n * 32 + n * 16) + (rows + 2) * 16 + 2 * 24 * 32
    assert mest_memory(LAYERS, kept) == bits / 8


def test_mest_dense() -> None:
    assert mest_memory(LAYERS, {}) == 2 * (36 + 288 + 24) * 4
