"""Parts of layers against calculations by hand, and what cannot be met."""

from collections.abc import Mapping
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spfde_exp.config import compose
from spfde_exp.cost.flops import forward_flops
from spfde_exp.errors import UserError
from spfde_exp.plan import make_plan
from spfde_exp.sparse.distribution import Distribution
from spfde_exp.sparse.scheme import layouts

# A small, a middle and a large layer: 64, 144 and 2304 weights of 2512.
SHAPES = {"one": (8, 8, 1, 1), "small": (4, 4, 3, 3), "large": (16, 16, 3, 3)}
EVERYTHING = 64 + 144 + 2304


def spread(kind: str, target: float, scheme: str = "unstructured", shapes: Mapping = SHAPES, **more) -> Distribution:
    return Distribution(layouts(shapes, scheme), target, kind, **more)


def kept(distribution: Distribution, sparsity: float) -> dict[str, int]:
    return {name: distribution.weights(name, sparsity) for name in distribution.layouts}


def densities(distribution: Distribution, sparsity: float) -> dict[str, float]:
    return {name: 1 - part for name, part in distribution.sparsities(sparsity).items()}


# -- by hand


def test_uniform() -> None:
    assert kept(spread("uniform", 0.9), 0.9) == {"one": 6, "small": 14, "large": 230}  # 6.4, 14.4, 230.4


def test_er() -> None:
    """Densities f (in + out) / (in x out): f/4, f/2, f/8.

    0.1 x 2512 = 251.2 = f (64/4 + 144/2 + 2304/8) = 376 f: f = 0.66809, and 10.69, 48.10, 192.41 weights stay.
    """
    er = spread("er", 0.9)
    assert densities(er, 0.9) == pytest.approx({"one": 0.167021, "small": 0.334043, "large": 0.083511}, abs=1e-6)
    assert kept(er, 0.9) == {"one": 11, "small": 48, "large": 192}
    assert er.total(0.9) == 251


def test_erk() -> None:
    """Densities f (in + out + 3 + 3) / (in x out x 9), and f (8 + 8 + 1 + 1) / 64 for the 1x1.

    0.1 x 2512 = 251.2 = f (18 + 14 + 38) = 70 f: f = 3.588571. The 1x1 would have 3.5886 x 18 / 64 = 1.0093: it is
    dense. 251.2 - 64 = 187.2 = f (14 + 38): f = 3.6; the others keep 50.4 (35 %) and 136.8 (5.9375 %).
    """
    erk = spread("erk", 0.9)
    assert densities(erk, 0.9) == pytest.approx({"one": 1.0, "small": 0.35, "large": 0.059375})
    assert kept(erk, 0.9) == {"one": 64, "small": 50, "large": 137}
    assert erk.total(0.9) == 251


def test_erk_without_a_dense_layer() -> None:
    """At 95 %: f = 125.6 / 70 = 1.794286, densities 0.504643, 0.174444 and 0.029593."""
    erk = spread("erk", 0.95)
    assert kept(erk, 0.95) == {"one": 32, "small": 25, "large": 68}  # 32.30, 25.12, 68.18


def test_erk_caps_layer_after_layer() -> None:
    """At 80 %: 502.4 = 70 f caps the 1x1; 438.4 = 52 f gives f = 8.4308, and 8.4308 x 14 / 144 = 0.82 does not.

    At 75 %: 628 - 64 = 564 = 52 f, f = 10.846, 10.846 x 14 / 144 = 1.054 caps the small one too: 420 are left.
    """
    assert kept(spread("erk", 0.8), 0.8) == {"one": 64, "small": 118, "large": 320}  # 118.03, 320.37
    assert kept(spread("erk", 0.75), 0.75) == {"one": 64, "small": 144, "large": 420}


def test_proportional() -> None:
    """Densities f / sqrt(weights): f/8, f/12, f/48. 251.2 = f (8 + 12 + 48) = 68 f: f = 3.694118."""
    even = spread("proportional", 0.9)
    assert densities(even, 0.9) == pytest.approx({"one": 0.461765, "small": 0.307843, "large": 0.076961}, abs=1e-6)
    assert kept(even, 0.9) == {"one": 30, "small": 44, "large": 177}  # 29.55, 44.33, 177.32


def test_explicit_per_kernel_size() -> None:
    """The parts as given at the target, exactly; overall 1 - (0.15 x 64 + 0.05 x 2448) / 2512 = 94.745 %."""
    parts = spread("explicit", 0.95, explicit={"3x3": 0.95, "1x1": 0.85})
    assert parts.sparsities(0.95) == {"one": 0.85, "small": 0.95, "large": 0.95}
    assert kept(parts, 0.95) == {"one": 10, "small": 7, "large": 115}  # 9.6, 7.2, 115.2
    parts.check()


def test_a_fraction_of_half_a_weight_is_not_lost_in_binary() -> None:
    """0.15 of 10 weights is 1.5, which is 2, although 1 - 0.85 is less than 0.15 in binary."""
    parts = spread("explicit", 0.85, shapes={"a": (10, 1, 1, 1)}, explicit={"1x1": 0.85})
    assert parts.units("a", 0.85) == spread("uniform", 0.85, shapes={"a": (10, 1, 1, 1)}).units("a", 0.85) == 2


def test_a_kernel_cannot_be_denser_than_its_pattern() -> None:
    """ERK at 75 % asks for 105.4 % of the small layer, and patterns end at 4/9; 628 - 64 - 64 are left, of 2304."""
    erk = spread("erk", 0.75, "hybrid")
    assert densities(erk, 0.75) == pytest.approx({"one": 1.0, "small": 4 / 9, "large": 500 / 2304})
    assert kept(erk, 0.75) == {"one": 64, "small": 64, "large": 500}


# -- other levels than the target


def test_denser_levels_make_up_the_asked_total() -> None:
    """EM&S at 85 %: 376.8 - 64 = 312.8 = 52 f."""
    erk = spread("erk", 0.9)
    assert kept(erk, 0.85) == {"one": 64, "small": 84, "large": 229}  # 84.22, 228.58
    parts = spread("explicit", 0.9, explicit={"3x3": 0.9, "1x1": 0.8})
    zeros = 1 - (0.2 * 64 + 0.1 * 2448) / EVERYTHING
    assert parts.total(0.45) == pytest.approx((1 - zeros / 2) * EVERYTHING, abs=2)
    assert kept(parts, 0.0) == {name: prod(shape) for name, shape in SHAPES.items()}


def test_what_is_dense_at_the_target_is_never_pruned() -> None:
    """EM prunes to 92 %: the sparse layers lose a fifth each, 50.4 and 136.8 weights become 40.32 and 109.44."""
    assert kept(spread("erk", 0.9), 0.92) == {"one": 64, "small": 40, "large": 109}
    dense = spread("explicit", 0.8, explicit={"3x3": 0.82, "1x1": 0.0})
    assert kept(dense, 0.9)["one"] == 64


def test_a_layer_whose_kernels_are_all_kept_is_never_pruned_either() -> None:
    """Under patterns 4/9 is all; EM prunes to 80 %, and the large layer alone loses a fifth, 500 x 4/5."""
    erk = spread("erk", 0.75, "hybrid")
    assert kept(erk, 0.8) == {"one": 64, "small": 64, "large": 400}
    parts = spread("explicit", 0.6, "hybrid", explicit={"3x3": 0.5555555556, "1x1": 0.9})
    assert kept(parts, 0.7)["large"] == kept(parts, 0.6)["large"] == 1024


def test_no_layer_loses_its_last_unit() -> None:
    """1 of 16 channels stays at 95 %, and rounding would leave 0 of 16 at 97 %."""
    channels = spread("uniform", 0.95, "channel", {"a": (16, 16, 3, 3)})
    assert channels.layouts["a"].kept_units(0.97) == 0
    assert [channels.units("a", level) for level in (0.95, 0.97, 0.999)] == [1, 1, 1]


# -- whatever the layers

sizes = st.lists(
    st.tuples(st.sampled_from([4, 8, 16, 32]), st.sampled_from([4, 8, 12, 64]), st.sampled_from([1, 3])),
    min_size=1,
    max_size=6,
)
kinds = st.sampled_from(["uniform", "er", "erk", "proportional", "explicit"])


def drawn(found: list[tuple[int, int, int]], kind: str, target: float, scheme: str = "unstructured") -> Distribution:
    shapes = {f"layer{index}": (*pair, kernel, kernel) for index, (*pair, kernel) in enumerate(found)}
    explicit = {f"{k}x{k}": part for k, part in ((1, 0.85), (3, 0.95)) if any(k == kernel for *_, kernel in found)}
    return spread(kind, target, scheme, shapes, explicit=explicit if kind == "explicit" else None)


@settings(max_examples=150)
@given(sizes, st.sampled_from(["er", "erk", "proportional", "uniform"]), st.integers(1, 99), st.integers(0, 99))
def test_totals_are_within_half_a_weight_per_layer(
    found: list[tuple[int, int, int]], kind: str, percent: int, level: int
) -> None:
    """At the target and at denser levels; and densities that are not at their bounds have the ratio of the formula."""
    target = percent / 100
    distribution = drawn(found, kind, target)
    everything = sum(layout.weights for layout in distribution.layouts.values())
    for sparsity in (target, min(target, level / 100)):
        assert abs(distribution.total(sparsity) - (1 - sparsity) * everything) <= len(found) / 2 + 1e-6
        parts = distribution.sparsities(sparsity)
        assert all(0 <= part <= 1 for part in parts.values())


@settings(max_examples=150)
@given(
    sizes,
    kinds,
    st.integers(1, 98),
    st.tuples(st.integers(0, 999), st.integers(0, 999)),
    st.sampled_from(["unstructured", "block", "channel", "filter", "hybrid"]),
)
def test_a_denser_level_has_fewer_units_in_no_layer(
    found: list[tuple[int, int, int]], kind: str, percent: int, levels: tuple[int, int], scheme: str
) -> None:
    distribution = drawn(found, kind, percent / 100, scheme)
    for denser, sparser in (sorted(levels), (percent * 10, max(levels)), (min(levels), percent * 10)):
        for name, layout in distribution.layouts.items():
            if denser <= sparser:
                more, fewer = (distribution.units(name, level / 1000) for level in (denser, sparser))
                assert 0 <= fewer <= more <= layout.units


# -- MEST Table K.1: ResNet-50 on CIFAR-100


def resnet50(*overrides: str):
    common = "recipe=mest_cifar100 model=resnet50_cifar method=mest_em sparsity=0.9 freeze=none sieve=none"
    return make_plan(compose([*common.split(), *overrides]))


@pytest.mark.slow
def test_table_k1() -> None:
    """Three ways to share out 90 %; patterns alone, on 3x3 layers, make 44 % of the network zero."""
    explicit = "sparsity.explicit={3x3:0.95,1x1:0.85}"
    uniform = resnet50("sparsity.scheme=hybrid")
    ratio = resnet50("sparsity.scheme=hybrid", "sparsity.distribution=explicit", explicit)
    proportional = resnet50("sparsity.scheme=hybrid", "sparsity.distribution=proportional")
    assert uniform.prediction()["sparsity"] == pytest.approx(0.9, abs=1e-5)
    assert ratio.prediction()["sparsity"] == pytest.approx(0.8983, abs=1e-4)  # "the same overall sparsity ratio (90%)"
    assert proportional.prediction()["sparsity"] == pytest.approx(0.9, abs=1e-5)
    patterns = resnet50("sparsity.scheme=pattern", "sparsity.prunable=block_3x3").prediction()
    assert patterns["sparsity"] == pytest.approx(0.9, abs=1e-4)
    assert patterns["sparsity_overall"] == pytest.approx(0.44, abs=0.015)
    # Uniform is fastest, as in the table.
    macs = [forward_flops(plan.layers, plan.final_kept()) for plan in (uniform, ratio, proportional)]
    assert macs[0] < macs[1] < macs[2]


# -- what cannot be met


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (
            spread("uniform", 0.95, "channel", {"a": (8, 8, 3, 3)}),
            "sparsity=0.95 cannot be met by layer a: of its 8 channels 0 would stay; choose a lower sparsity, a finer "
            "sparsity.scheme or a wider model",
        ),
        (
            spread("uniform", 0.95, "channel", {"b": (8, 8, 3, 3), "a": (8, 32, 3, 3), "c": (8, 64, 1, 1)}),
            "sparsity=0.95 cannot be met by layer b: of its 8 channels 0 would stay; choose",
        ),
        (
            spread("uniform", 0.9, "filter", {"a": (32, 8, 3, 3), "b": (8, 8, 3, 3), "c": (24, 8, 1, 1)}),
            "cannot be met by layer b: of its 8 filters 1 would stay, 2.50 points off; choose another sparsity, a "
            "finer sparsity.scheme or a wider model, or accept it with sparsity.tolerance=0.025",
        ),
        (
            spread("uniform", 0.5, "pattern", {"a": (8, 8, 3, 3)}),
            "sparsity=0.5 cannot be met by layer a: of its 64 kernels 64 would stay, and 55.56% of it is zero even so; "
            "choose a higher sparsity or another sparsity.scheme",
        ),
        (
            spread("explicit", 0.9, explicit={"3x3": 0.95, "1x1": 0.85}),
            "sparsity.distribution=explicit makes 94.75% of the prunable weights zero, and sparsity=0.9 was asked for; "
            "set sparsity=0.95, or change the parts",
        ),
        (
            spread("explicit", 0.9, explicit={"3x3": 0.9, "1x1": 0.999}),
            "sparsity=0.9 cannot be met by layer one: of its 64 weights 0 would stay at its part of 0.999; choose",
        ),
    ],
)
def test_refused(distribution: Distribution, message: str) -> None:
    with pytest.raises(UserError) as error:
        distribution.check()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_named_tolerance_suffices_and_less_does_not() -> None:
    coarse = spread("uniform", 0.95, "channel", {"a": (8, 32, 3, 3), "b": (8, 64, 1, 1)})
    with pytest.raises(UserError, match=r"layer a.* 1\.25 points off.*sparsity\.tolerance=0\.0125$"):
        coarse.check()
    coarse.check(0.0125)
    with pytest.raises(UserError, match="1.25 points off"):
        coarse.check(0.0124)


@pytest.mark.parametrize(
    ("explicit", "message"),
    [
        (
            None,
            "sparsity.explicit says nothing of layer one, of kernel size 1x1; set it for every kernel size of the "
            "prunable layers: sparsity.explicit={1x1:0.9,3x3:0.9}",
        ),
        ({"1x1": 0.5}, "says nothing of layer small, of kernel size 3x3"),
        ({"1x1": 0.5, "3x3": 0.9, "7x7": 0.5}, "names kernel size 7x7, and no prunable layer has it; allowed: 1x1"),
    ],
)
def test_explicit_parts_name_the_kernel_sizes(explicit: Mapping[str, float] | None, message: str) -> None:
    with pytest.raises(UserError) as error:
        spread("explicit", 0.9, explicit=explicit)
    assert message in str(error.value)
