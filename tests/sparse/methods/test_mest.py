"""Schedules against SpFDE Table A3 and MEST algorithm 1, and what they cost; updates on small tensors."""

from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spfde_exp.config import compose, resolve, signature
from spfde_exp.errors import UserError
from spfde_exp.schema import Config, MethodConfig
from spfde_exp.sparse.masks import Masks
from spfde_exp.sparse.methods import METHODS
from spfde_exp.sparse.schedule import SparsitySchedule, Update, build_schedule

DENSE = 1.3229e16  # 6 FLOPs x 275,611,648 MACs x 50,000 examples x 160 epochs
TABLE_A3 = {"epochs": 160, "every": 5, "milestones": [90], "stop": 120}


def schedule(method: str, target: float, p: float | str = "auto") -> SparsitySchedule:
    return METHODS[method].schedule(target=target, p=p, **TABLE_A3)  # type: ignore[arg-type]


def of(config: Config) -> SparsitySchedule:
    dst = config.dst
    return METHODS[config.method.name].schedule(
        config.epochs, config.sparsity.target, config.method.p, dst.every, dst.milestones, dst.stop
    )


# -- Table A3


@pytest.mark.parametrize(("target", "ratio"), [(0.9, 0.05), (0.98, 0.02), (0.05, 0.05), (0.03, 0.03)])
def test_auto_leaves_room_to_grow_and_to_keep(target: float, ratio: float) -> None:
    """SpFDE's 0.05, but no more than is kept, and no more than is zero: then the network is trained dense."""
    assert METHODS["mest_ems"].mutation_ratio(target, "auto") == ratio
    assert schedule("mest_ems", target).trained[0] == pytest.approx(target - ratio)


def test_ems_at_90_percent() -> None:
    plan = schedule("mest_ems", 0.9)
    assert plan.trained == pytest.approx([0.85] * 90 + [0.875] * 30 + [0.9] * 40)
    assert list(plan.updates) == list(range(0, 121, 5))
    assert {u.prune_to for u in plan.updates.values()} == {0.9}
    assert plan.updates[120] == Update(0.9, 0.9)


@pytest.mark.parametrize(
    ("target", "flops"),
    [(0.9, 1.757e15), (0.95, 1.096e15), (0.98, 0.438e15)],  # notes on Table 2's MEST rows
)
def test_ems_mean_density_gives_the_printed_flops(target: float, flops: float) -> None:
    assert DENSE * schedule("mest_ems", target).mean_density == pytest.approx(flops, rel=1e-3)


def test_ems_at_98_percent_has_a_smaller_ratio() -> None:
    assert schedule("mest_ems", 0.98).trained == pytest.approx([0.96] * 90 + [0.97] * 30 + [0.98] * 40)


@pytest.mark.parametrize(("target", "p"), [(0.9, 0.02), (0.95, 0.01), (0.98, 0.004), (0.6, 0.08)])
def test_em_prunes_a_fifth_of_what_is_kept(target: float, p: float) -> None:
    plan = schedule("mest_em", target)
    assert plan.trained == pytest.approx([target] * 160)
    for epoch, update in plan.updates.items():
        assert update.prune_to == pytest.approx(target + (p if epoch < 90 else p / 2))
        assert update.grow_to == target
    assert list(plan.updates) == list(range(0, 120, 5))


def test_vanilla_is_em_without_decay() -> None:
    plan = schedule("mest", 0.9)
    assert {u.prune_to for u in plan.updates.values()} == {0.92}
    assert plan.trained == pytest.approx([0.9] * 160)


def test_table_g1_as_an_override() -> None:
    plan = schedule("mest_em", 0.9, 0.05)
    assert (plan.updates[0].prune_to, plan.updates[90].prune_to) == pytest.approx((0.95, 0.925))


@pytest.mark.parametrize("name", ["static", "dense"])
def test_fixed_methods_never_update(name: str) -> None:
    plan = schedule(name, 0.9)
    assert not plan.updates and plan.mean_density == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["mest", "mest_em"])
@pytest.mark.parametrize(("target", "p"), [(0.9, 0.1), (0.95, 0.05), (0.98, 0.5)])
def test_removing_every_weight_is_refused(name: str, target: float, p: float) -> None:
    with pytest.raises(UserError, match=f"method.p={p:g} would remove every weight at sparsity={target:g}"):
        schedule(name, target, p)


def test_growing_more_than_there_is_is_refused() -> None:
    with pytest.raises(UserError, match="method.p=0.05 .* sparsity=0.04"):
        schedule("mest_ems", 0.04, 0.05)


# -- scaled to other lengths


def test_recipe_is_table_a3() -> None:
    dst = compose(["recipe=cifar100"]).dst
    assert (dst.every, dst.milestones, dst.stop) == (5, [90], 120)


def test_half_the_effort_is_half_the_epochs() -> None:
    short, shorter = compose(["recipe=cifar100", "epochs=80"]), compose(["recipe=cifar100", "effort=0.5"])
    assert (short.dst.every, short.dst.milestones, short.dst.stop) == (5, [45], 60)
    assert signature(short) == signature(shorter) != signature(compose(["recipe=cifar100"]))


@pytest.mark.parametrize(
    ("effort", "epochs", "milestone", "stop"),
    [(1.7, 272, 155, 205), (0.67, 107, 60, 80), (0.25, 40, 25, 30)],  # 153, 204; 60.2, 80.3; 22.5, 30
)
def test_milestones_are_multiples_of_the_interval(effort: float, epochs: int, milestone: int, stop: int) -> None:
    config = compose(["recipe=cifar100", f"effort={effort}"])
    assert (config.epochs, config.dst.milestones, config.dst.stop) == (epochs, [milestone], stop)


@pytest.fixture(scope="module")
def raw() -> dict[str, object]:
    return asdict(compose(["recipe=cifar100", "freeze=none", "sieve=none"]))


@pytest.mark.parametrize("epochs", range(1, 41))
def test_the_last_epoch_is_at_the_target(raw: dict[str, object], epochs: int) -> None:
    config = resolve({**raw, "epochs": epochs})
    plan = of(config)
    assert len(plan.trained) == epochs and plan.trained[-1] == 0.9
    assert max(plan.updates) <= epochs - 1
    assert all(epoch % 5 == 0 for epoch in plan.updates)
    if epochs > 5:  # one interval fits before the last prune
        assert plan.trained[0] < 0.9
    assert resolve(asdict(config)) == config


@given(
    epochs=st.integers(1, 80),
    every=st.integers(1, 9),
    target=st.integers(10, 98).map(lambda n: n / 100),
    name=st.sampled_from(["mest", "mest_em", "mest_ems"]),
)
def test_an_epoch_is_trained_at_what_the_last_update_grew_to(epochs: int, every: int, target: float, name: str) -> None:
    stop = (epochs - 1) // every * every
    plan = METHODS[name].schedule(epochs, target, "auto", every, [epochs // 2], stop)
    for epoch, trained in enumerate(plan.trained):
        past = [e for e in plan.updates if e <= epoch]
        assert trained == (plan.updates[max(past)].grow_to if past else target)
    for update in plan.updates.values():
        assert 0 <= update.grow_to <= update.prune_to < 1
        assert max(update.prune_to, update.grow_to) >= target >= min(update.prune_to, update.grow_to)


# -- what an update does


def layer_of(count: int, kept: int) -> tuple[nn.Parameter, Masks]:
    weight = nn.Parameter(torch.arange(1.0, count + 1))
    masks = Masks({"a": weight}, 0.5)
    masks.prune_to("a", 1 - kept / count, weight.detach())
    return weight, masks


def mutate(name: str, masks: Masks, update: Update) -> None:
    """One update of MEST at the start of epoch 0, with |w| as importance."""
    config = MethodConfig(name, importance_lambda=0.0)
    plan = build_schedule(1, 0.5, {0: update})
    method = METHODS[name](config, plan, masks, lambda *_: torch.Generator().manual_seed(0))
    method.start_epoch(0, ["a"])


def test_em_replaces_the_least_important() -> None:
    weight, masks = layer_of(20, 10)  # weights 11 ... 20 are kept
    mutate("mest_em", masks, Update(0.6, 0.5))
    assert masks.count("a") == 10
    assert bool(masks.kept["a"][12:].all())  # 13 ... 20 survive
    assert weight[:12].tolist() == [0.0] * 12  # 11 and 12 went; whatever grew is zero


def test_ems_prunes_to_the_target_before_it_grows() -> None:
    weight, masks = layer_of(20, 12)  # weights 9 ... 20 are kept: an interval has just been trained
    mutate("mest_ems", masks, Update(0.5, 0.4))
    assert masks.count("a") == 12
    assert bool(masks.kept["a"][10:].all()) and weight[:10].tolist() == [0.0] * 10


def test_the_last_ems_update_only_prunes() -> None:
    weight, masks = layer_of(20, 12)
    mutate("mest_ems", masks, Update(0.5, 0.5))
    assert masks.kept["a"].int().tolist() == [0] * 10 + [1] * 10
    assert weight.tolist() == [0.0] * 10 + [float(n) for n in range(11, 21)]


@pytest.mark.parametrize(("importance_lambda", "kept"), [(0.0, [0, 0, 1, 1]), (0.1, [1, 0, 0, 1])])
def test_importance_is_magnitude_and_gradient(importance_lambda: float, kept: list[int]) -> None:
    """|w| + lambda |g| (MEST eq. 1): with 0.1, 1 + 2.5, 2 + 0.1, 3 + 0 and 4 + 0."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0, -4.0]))
    weight.grad = torch.tensor([-25.0, 1.0, 0.0, 0.0])
    masks = Masks({"a": weight}, 0.5)
    config = MethodConfig("mest_ems", importance_lambda=importance_lambda)
    plan = build_schedule(1, 0.5, {0: Update(0.5, 0.5)})
    METHODS["mest_ems"](config, plan, masks, lambda *_: torch.Generator()).start_epoch(0, ["a"])
    assert masks.kept["a"].int().tolist() == kept


def test_a_fixed_method_leaves_its_masks() -> None:
    _, masks = layer_of(4, 2)
    before = masks.kept["a"].clone()
    mutate("static", masks, Update(0.5, 0.25))
    assert torch.equal(masks.kept["a"], before)
