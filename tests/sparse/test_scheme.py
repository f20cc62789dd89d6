"""Every scheme through MEST's methods: exact counts, whole units and zeros after every update."""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spfde_exp.config import compose
from spfde_exp.errors import UserError
from spfde_exp.plan import make_plan
from spfde_exp.schema import MethodConfig
from spfde_exp.sparse.layout import PATTERNS, Patterns
from spfde_exp.sparse.masks import Masks
from spfde_exp.sparse.methods import METHODS
from spfde_exp.sparse.scheme import layouts
from spfde_exp.train import rng

SCHEMES = ("unstructured", "filter", "channel", "block", "pattern", "hybrid")
FOUR = [tuple(index in entries for index in range(9)) for entries in PATTERNS]

# -- what a unit is, once more: a number for each weight, found weight by weight


def unit_numbers(shape: tuple[int, ...], scheme: str, block: tuple[int, int]) -> np.ndarray:
    _, channels, height, width = shape
    if scheme == "hybrid":
        scheme = "pattern" if (height, width) == (3, 3) else "block"
    numbers = np.zeros(shape, dtype=int)
    for f, c, y, x in np.ndindex(*shape):
        column = (c * height + y) * width + x
        numbers[f, c, y, x] = {
            "unstructured": f * channels * height * width + column,
            "filter": f,
            "channel": c,
            "pattern": f * channels + c,
            "block": f // block[0] * 10_000 + column // block[1],
        }[scheme]
    return np.unique(numbers, return_inverse=True)[1].reshape(shape)


def expected_units(shape: tuple[int, ...], units: int, per_unit: int, sparsity: float, target: float) -> int:
    exact = (1 - Fraction(str(sparsity))) * math.prod(shape) / per_unit
    return max(min(units, math.floor(exact + Fraction(1, 2))), int(sparsity > target))


def check_structure(
    masks: Masks, layer: str, scheme: str, block: tuple[int, int], sparsity: float, target: float
) -> None:
    """`layer` keeps exactly the units that `sparsity` leaves, and whole ones only."""
    mask = masks.kept[layer].numpy()
    shape = tuple(mask.shape)
    patterned = scheme == "pattern" or scheme == "hybrid" and shape[2:] == (3, 3)
    numbers = unit_numbers(shape, scheme, block)
    sizes, kept = np.bincount(numbers.flatten()), np.bincount(numbers.flatten(), weights=mask.flatten())
    per_unit = 4 if patterned else sizes[0]
    assert set(kept) <= {0, per_unit}
    assert int((kept > 0).sum()) == expected_units(shape, len(sizes), per_unit, sparsity, target)
    if patterned:
        rows = mask.reshape(shape[0], shape[1], 9)
        assert {tuple(kernel) for kernel in rows.reshape(-1, 9) if kernel.any()} <= set(FOUR)
        per_filter = rows.any(2).sum(1)
        assert per_filter.max() - per_filter.min() <= 1


def check_zeros(masks: Masks, optimizer: torch.optim.Optimizer, layer: str) -> None:
    weight, out = masks.weights[layer], ~masks.kept[layer]
    state = [value for value in optimizer.state[weight].values() if isinstance(value, Tensor)]
    for tensor in (weight.detach(), weight.grad, *state):
        assert tensor is None or not tensor[out].any()


# -- whatever the shapes, the sparsity and the seed

sizes = st.tuples(st.sampled_from([4, 8, 12]), st.sampled_from([2, 4, 6, 16]), st.sampled_from([1, 3]))
blocks = st.sampled_from([(4, 1), (2, 2), (1, 2)])
EPOCHS, EVERY, MILESTONES, STOP = 8, 2, [4], 6


def layers_of(found: list[tuple[int, int, int]], scheme: str, generator: torch.Generator) -> dict[str, nn.Parameter]:
    shapes = [(f, c, 3, 3) if scheme == "pattern" else (f, c, k, k) for f, c, k in found]
    return {f"layer{n}": nn.Parameter(torch.randn(shape, generator=generator)) for n, shape in enumerate(shapes)}


def masks_over(weights: dict[str, nn.Parameter], target: float, scheme: str, block: tuple[int, int]) -> Masks:
    try:
        return Masks(weights, target, scheme=scheme, block=block, tolerance=1.0)
    except UserError:  # a layer would keep nothing
        assume(False)
        raise


@pytest.mark.parametrize("name", ["mest", "mest_em", "mest_ems"])
@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=12)
@given(
    found=st.lists(sizes, min_size=1, max_size=3),
    percent=st.integers(30, 97),
    block=blocks,
    init=st.sampled_from(["random", "magnitude"]),
    seed=st.integers(0, 2**31),
)
def test_counts_and_zeros_after_every_update(
    scheme: str,
    name: str,
    found: list[tuple[int, int, int]],
    percent: int,
    block: tuple[int, int],
    init: str,
    seed: int,
) -> None:
    """A run of random gradients in which the first layer freezes, at the target, before the fourth epoch."""
    target, draws = percent / 100, torch.Generator().manual_seed(seed)
    weights = layers_of(found, scheme, draws)
    masks = masks_over(weights, target, scheme, block)
    optimizer = torch.optim.SGD(weights.values(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    masks.attach(optimizer)
    schedule = METHODS[name].schedule(EPOCHS, target, "auto", EVERY, MILESTONES, STOP)
    config = MethodConfig(name, init=init, importance_lambda=0.01)
    method = METHODS[name](config, schedule, masks, partial(rng.generator, seed))
    method.draw(nn.Module(), None)  # type: ignore[arg-type]
    for layer in weights:
        check_structure(masks, layer, scheme, block, target, target)
    active, rest = list(weights), None
    for epoch in range(EPOCHS):
        if epoch == 3:
            method.rest("layer0")
            rest, weights["layer0"].grad = masks.kept["layer0"].clone(), None
            active.remove("layer0")
        method.start_epoch(epoch, active)
        for layer in weights:
            sparsity = schedule.trained[epoch] if layer in active else target
            check_structure(masks, layer, scheme, block, sparsity, target)
            check_zeros(masks, optimizer, layer)
        for layer in active:
            weights[layer].grad = torch.randn(weights[layer].shape, generator=draws)
        optimizer.step()
        for layer in weights:
            check_zeros(masks, optimizer, layer)
    for layer in weights:
        check_structure(masks, layer, scheme, block, target, target)
    assert torch.equal(masks.kept["layer0"], rest)


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=25)
@given(
    found=sizes, levels=st.tuples(st.integers(30, 70), st.integers(70, 97)), block=blocks, seed=st.integers(0, 2**31)
)
def test_what_goes_and_what_comes(
    scheme: str, found: tuple[int, int, int], levels: tuple[int, int], block: tuple[int, int], seed: int
) -> None:
    """The least sums go, only empty units grow, and what stays keeps its weights: a kernel its pattern, too."""
    dense, sparse = (percent / 100 for percent in levels)
    draws = torch.Generator().manual_seed(seed)
    weights = layers_of([found], scheme, draws)
    masks = masks_over(weights, dense, scheme, block)
    masks.init_random(dense, draws)
    before = masks.kept["layer0"].clone()
    importance = torch.rand(before.shape, generator=draws)
    numbers = unit_numbers(tuple(before.shape), scheme, block)
    sums = np.bincount(numbers.flatten(), weights=(importance * before).double().numpy().flatten())

    masks.prune_to("layer0", sparse, importance)
    pruned = masks.kept["layer0"].clone()
    assert not bool((pruned & ~before).any())
    was, stayed = units_of(numbers, before), units_of(numbers, pruned)
    assert torch.equal(pruned, before & torch.from_numpy(np.isin(numbers, sorted(stayed))))
    # Filters are balanced under patterns: there, the order holds in each of them.
    per_filter = isinstance(masks.layouts["layer0"], Patterns)
    for part in numbers if per_filter else [numbers]:
        kept, gone = (set(part.flatten()) & some for some in (stayed, was - stayed))
        assert not kept or not gone or min(sums[list(kept)]) >= max(sums[list(gone)])

    masks.grow_to("layer0", dense, draws)
    grown = masks.kept["layer0"]
    assert bool((grown | ~pruned).all()) and stayed <= units_of(numbers, grown)
    new = grown & ~pruned
    assert units_of(numbers, new).isdisjoint(stayed)
    assert not weights["layer0"].detach()[new].any()
    check_structure(masks, "layer0", scheme, block, dense, dense)


def units_of(numbers: np.ndarray, mask: Tensor) -> set[int]:
    """Numbers of the units that have a weight in `mask`."""
    return set(numbers[mask.numpy()].tolist())


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (4, 16, 1, 1)])
def test_unstructured_draws_are_those_of_version_0_1(shape: tuple[int, ...]) -> None:
    """A uniform number per weight, in the weight's order: the largest stay, or grow."""
    weight = nn.Parameter(torch.ones(shape))
    masks = Masks({"a": weight}, 0.75)
    masks.init_random(0.75, torch.Generator().manual_seed(11))
    draws = torch.rand(shape, generator=torch.Generator().manual_seed(11)).flatten().tolist()
    first = sorted(range(len(draws)), key=lambda index: -draws[index])[: len(draws) // 4]
    assert masks.kept["a"].flatten().nonzero().flatten().tolist() == sorted(first)
    masks.grow_to("a", 0.5, torch.Generator().manual_seed(12))
    draws = torch.rand(shape, generator=torch.Generator().manual_seed(12)).flatten().tolist()
    grown = sorted(set(range(len(draws))) - set(first), key=lambda index: -draws[index])[: len(draws) // 4]
    assert masks.kept["a"].flatten().nonzero().flatten().tolist() == sorted([*first, *grown])


# -- what a scheme cannot do


@pytest.mark.parametrize(
    ("scheme", "shapes", "message"),
    [
        ("pattern", {"a": (4, 4, 5, 5), "b": (4, 4, 1, 1)}, "pattern needs 3x3 kernels, and no prunable layer of this"),
        (
            "pattern",
            {"a": (4, 4, 3, 3), "b": (4, 4, 1, 1)},
            "needs 3x3 kernels, and layer b is 1x1; leave such layers ",
        ),
        (
            "pattern",
            {"a": (4, 4, 3, 3), "b": (4, 4)},
            "and layer b is linear; leave such layers dense with sparsity.prun",
        ),
        ("block", {"a": (6, 4, 3, 3)}, "sparsity.block=[4,1] does not divide layer a of 6 x 36 weights; allowed: two "),
        ("channel", {"a": (8, 1, 3, 3)}, "layer a has one for each filter (depthwise); choose sparsity.scheme=filter"),
    ],
)
def test_layers_that_do_not_divide(scheme: str, shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(UserError) as error:
        layouts(shapes, scheme)
    assert message in str(error.value) and "\n" not in str(error.value)


class Grouped(nn.Module):
    """Three convolutions, the last one with filters in two groups."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.stem, self.plain = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.grouped, self.classifier = nn.Conv2d(8, 8, 3, padding=1, groups=groups), nn.Linear(8, 10)

    def blocks(self) -> list[tuple[str, list[str]]]:
        return [("one", ["stem", "plain"]), ("two", ["grouped"])]

    def forward(self, x: Tensor, frozen: int = 0) -> Tensor:
        return self.classifier(self.grouped(self.plain(self.stem(x))).mean((2, 3)))


@pytest.mark.parametrize(("groups", "told"), [(2, "layer grouped has 2 groups"), (8, "layer grouped has one for each")])
def test_channels_of_groups_are_no_input_channels(groups: int, told: str) -> None:
    config = compose(["method=mest_em", "sparsity=0.5", "sparsity.scheme=channel", "freeze=none"])
    assert make_plan(config, Grouped(1)).prediction()["sparsity"] == 0.5
    with pytest.raises(
        UserError, match=rf"^sparsity.scheme=channel needs .*{told}.*; choose sparsity.scheme=filter"
    ) as error:
        make_plan(config, Grouped(groups))
    assert "\n" not in str(error.value)
    other = compose(["method=mest_em", "sparsity=0.5", "sparsity.scheme=filter", "freeze=none"])
    assert make_plan(other, Grouped(groups)).prediction()["sparsity"] == 0.5


def test_hybrid_is_pattern_for_3x3_and_block_for_the_rest() -> None:
    found = layouts({"a": (4, 4, 3, 3), "b": (4, 4, 1, 1), "c": (4, 2, 1, 3), "d": (8, 6)}, "hybrid")
    assert [(layout.name, layout.units) for layout in found.values()] == [
        ("kernels", 16), ("blocks", 4), ("blocks", 6), ("blocks", 12)
    ]  # fmt: skip
