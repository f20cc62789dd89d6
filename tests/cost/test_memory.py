"""Memory of a two-layer network by hand, MEST's Table A.1 for each scheme, and the megabytes of its appendix J."""

from functools import cache

import pytest
from torch import nn

from spfde_exp.config import compose
from spfde_exp.cost.layers import Layer, measure_layers
from spfde_exp.cost.memory import epoch_memory, mest_memory
from spfde_exp.plan import make_plan
from spfde_exp.run_plan import RunPlan
from spfde_exp.sparse.scheme import layouts

# conv 1 -> 4, 3x3 on 4x4: 36 weights, 64 outputs; conv 4 -> 8: 288 weights, 128 outputs; linear 8 -> 3
CONV1 = Layer("conv1", 0, weights=36, positions=16, outputs=64, shape=(4, 1, 3, 3))
CONV2 = Layer("conv2", 1, weights=288, positions=16, outputs=128, shape=(8, 4, 3, 3))
HEAD = Layer("head", None, weights=24, positions=1, outputs=3, shape=(3, 8))
LAYERS = [CONV1, CONV2, HEAD]
OTHER = {0: 8, 1: 16, None: 3}  # BN of both, bias of the head
KEPT = {"conv2": 28}


def units(scheme: str, *layers: Layer):
    return layouts({layer.name: layer.shape for layer in layers}, scheme)


UNITS = units("unstructured", CONV2)


# -- an epoch


def test_dense_and_nothing_frozen() -> None:
    memory = epoch_memory(LAYERS, {}, 0, 10, OTHER, {})
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
    memory = epoch_memory(LAYERS, KEPT, 0, 10, OTHER, UNITS)
    active = 36 + 28 + 24 + 27
    assert memory.weights == memory.weight_gradients == memory.momentum == 4 * active
    assert memory.activations == 4 * 1950  # sparsity does not shrink activations
    assert memory.indices == 2 * (28 + 8 + 1)


@pytest.mark.parametrize(
    ("scheme", "indices"),
    [("block", 28 // 4 + 8 // 4 + 1), ("pattern", 28 // 4 + 8 + 1), ("filter", 0), ("channel", 0)],
)
def test_indices_of_the_other_schemes(scheme: str, indices: int) -> None:
    """One for each 4 x 1 block or kernel, and where the rows begin; none for whole filters and channels."""
    assert epoch_memory(LAYERS, KEPT, 0, 10, OTHER, units(scheme, CONV2)).indices == 2 * indices


@pytest.mark.parametrize(
    ("frozen", "trained", "outputs"), [(0, 36 + 28 + 24 + 27, 195), (1, 28 + 24 + 19, 131), (2, 24 + 3, 3)]
)
def test_a_frozen_block_keeps_its_weights_only(frozen: int, trained: int, outputs: int) -> None:
    memory = epoch_memory(LAYERS, KEPT, frozen, 10, OTHER, UNITS)
    assert memory.weights == 4 * (36 + 28 + 24 + 27)
    assert memory.weight_gradients == memory.momentum == 4 * trained
    assert memory.activations == memory.activation_gradients == 4 * 10 * outputs
    assert memory.indices == 2 * (28 + 8 + 1)


def test_a_real_network_has_these_layers() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    measured = measure_layers(model, (1, 4, 4), [("a", ["0"]), ("b", ["1"])])
    assert [(layer.weights, layer.outputs, layer.shape) for layer in measured] == [
        (layer.weights, layer.outputs, layer.shape) for layer in LAYERS
    ]


# -- MEST Table A.1, in bits: b_w = 32, b_index = 16; N = 36 + 288 masked weights, 24 that are not


@pytest.mark.parametrize("sparsity", [0.5, 0.75])
@pytest.mark.parametrize(
    ("scheme", "per_index", "rows"),
    [("unstructured", 1, 4 + 8 + 2), ("pattern", 4, 4 + 8 + 2), ("block", 4, 1 + 2 + 2)],
)
def test_table_a1(scheme: str, per_index: int, rows: int, sparsity: float) -> None:
    masked = [CONV1, CONV2]
    kept = {layer.name: int((1 - sparsity) * layer.weights / 4) * 4 for layer in masked}
    n, s = 36 + 288, 1 - sum(kept.values()) / (36 + 288)
    bits = (1 - s) * (2 * n * 32 + n * 16 / per_index) + rows * 16 + 2 * 24 * 32
    assert mest_memory(LAYERS, kept, units(scheme, *masked)) == pytest.approx(bits / 8)


@pytest.mark.parametrize("scheme", ["channel", "filter"])
def test_table_a1_structured(scheme: str) -> None:
    """(1 - s) 2 N b_w: whatever is left is a smaller dense network."""
    assert mest_memory(LAYERS, {"conv2": 144}, units(scheme, CONV2)) == 2 * (36 + 144 + 24) * 4


def test_hybrid_is_layer_by_layer() -> None:
    one = Layer("one", 1, weights=128, positions=1, outputs=8, shape=(8, 16, 1, 1))
    kept = {"conv2": 28, "one": 32}
    rows = {"conv2": 8 + 1, "one": 8 // 4 + 1}
    expected = 2 * 4 * (28 + 32) + 2 * (28 // 4 + rows["conv2"]) + 2 * (32 // 4 + rows["one"])
    assert mest_memory([CONV2, one], kept, units("hybrid", CONV2, one)) == expected


def test_dense() -> None:
    assert mest_memory(LAYERS, {}, {}) == 2 * (36 + 288 + 24) * 4


def test_dense_gradients() -> None:
    """(2 - s) N b_w + (1 - s) N b_index, and the row indices of the sparse weights."""
    n, s = 288, 0.75
    bits = (2 - s) * n * 32 + (1 - s) * n * 16 + (8 + 1) * 16 + 2 * (36 + 24) * 32
    assert mest_memory(LAYERS, {"conv2": 72}, UNITS, "dense_gradients") == bits / 8


def test_what_starts_dense_is_dense() -> None:
    assert mest_memory(LAYERS, KEPT, UNITS, "dense") == mest_memory(LAYERS, {}, {})


# -- ResNet-32 on CIFAR-100 at 90 %, from the papers' sizes

FIXED = ["recipe=cifar100", "freeze=none", "sieve=none", "method=static"]
MASKED = 1_854_304 - 864  # convolutions but the stem's
DENSE_BYTES = 2 * 4 * (864 + 12_800)  # the stem and the classifier
# Filters: 10 convolutions of 32, then 10 of 64 and of 128, and a shortcut each.
FILTERS, LAYER_COUNT = 10 * 32 + 11 * 64 + 11 * 128, 32


@cache
def resnet32(*overrides: str) -> RunPlan:
    return make_plan(compose([*FIXED, *overrides]))


def bytes_of(*overrides: str) -> int:
    return int(resnet32(*overrides).prediction()["memory_mest_bytes"])


@pytest.mark.parametrize(
    ("scheme", "per_index", "rows"),
    [("unstructured", 1, FILTERS + LAYER_COUNT), ("block", 4, FILTERS // 4 + LAYER_COUNT)],
)
def test_resnet32_at_90_percent(scheme: str, per_index: int, rows: int) -> None:
    expected = 0.1 * MASKED * (8 + 2 / per_index) + 2 * rows + DENSE_BYTES
    assert bytes_of(f"sparsity.scheme={scheme}") == pytest.approx(expected, rel=1e-4)


def test_resnet32_at_90_percent_with_whole_channels() -> None:
    """3 of 32, 6 of 64 and 13 of 128: of the inputs, or of the outputs."""
    channel = 10 * 3 * 32 * 9 + 3 * 64 * (9 + 1) + 9 * 6 * 64 * 9 + 6 * 128 * (9 + 1) + 9 * 13 * 128 * 9
    filters = 10 * 3 * 32 * 9 + 6 * 32 * (9 + 1) + 9 * 6 * 64 * 9 + 13 * 64 * (9 + 1) + 9 * 13 * 128 * 9
    assert bytes_of("sparsity.scheme=channel") == 8 * channel + DENSE_BYTES
    assert bytes_of("sparsity.scheme=filter") == 8 * filters + DENSE_BYTES


def test_resnet32_at_90_percent_with_patterns() -> None:
    weights, rows = 0.1 * 1_843_200, 10 * (32 + 64 + 128) + 30
    dense = DENSE_BYTES + 2 * 4 * (32 * 64 + 64 * 128)  # the shortcuts too
    expected = 8 * weights + 2 * (weights / 4 + rows) + dense
    assert bytes_of("sparsity.scheme=pattern", "sparsity.prunable=block_3x3") == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("methods", "weights_and_gradients", "indexed"),
    [
        (["static", "set", "deepr", "dsr", "mest", "mest_em"], 2 * 0.1, True),
        (["mest_ems"], 2 * 0.15, True),  # at its densest
        (["rigl", "rigl_itop", "snfs"], 2 - 0.9, True),
        (["snip", "grasp", "synflow", "lth"], 2, False),
    ],
)
def test_each_method_needs_what_mest_says(methods: list[str], weights_and_gradients: float, indexed: bool) -> None:
    density = 0.15 if methods == ["mest_ems"] else 0.1
    indices = density * MASKED + FILTERS + LAYER_COUNT if indexed else 0
    expected = 4 * weights_and_gradients * MASKED + 2 * indices + DENSE_BYTES
    for method in methods:
        assert bytes_of(f"method={method}") == pytest.approx(expected, rel=1e-4), method


@pytest.mark.parametrize(
    ("model", "method", "sparsity", "printed"),
    [
        ("resnet32", "dense", "dense", 462),
        ("resnet32", "static", 0.9, 46),
        ("resnet32", "mest_ems", 0.9, 69),
        ("resnet32", "static", 0.95, 23),
        ("resnet32", "mest_ems", 0.95, 46),
        ("vgg19", "dense", "dense", 4964),
        ("vgg19", "static", 0.9, 494),
        ("vgg19", "mest_ems", 0.9, 744),
        ("vgg19", "static", 0.95, 247),
        ("vgg19", "mest_ems", 0.95, 494),
    ],
)
def test_appendix_j(model: str, method: str, sparsity: float | str, printed: int) -> None:
    """Megabytes (MiB) of weights and 64 examples' gradients, without indices; here stem and classifier stay dense."""
    plan = resnet32("recipe=cifar10", f"model={model}", f"method={method}", f"sparsity={sparsity}")
    one_gradient = plan.prediction()["memory_mest_bytes"] - plan.memory(0).indices
    assert (1 + 64) / 2 * one_gradient / 2**20 == pytest.approx(printed, rel=0.025)
