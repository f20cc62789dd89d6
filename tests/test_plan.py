"""Plans of whole runs against the figures that SpFDE prints, and against sums over epochs."""

import json

import pytest
import torch

from spfde_exp.config import compose
from spfde_exp.errors import UserError
from spfde_exp.plan import RunPlan, build_model, make_plan, train_size

CIFAR100 = "recipe=cifar100"
MACS = 275_611_648 + 128 * 100  # convolutions and classifier of ResNet-32, width 2
PLAIN = ["freeze=none", "sieve=none"]
TINY = ["model.width=0.5", "epochs=20", "dst.every=2"]


def plan_of(*overrides: str) -> RunPlan:
    return make_plan(compose(list(overrides)))


# -- printed training FLOPs (Table 2)


@pytest.mark.parametrize(("sparsity", "printed"), [(0.9, 1.32), (0.95, 0.66), (0.98, 0.26)])
def test_fixed_mask_rows(sparsity: float, printed: float) -> None:
    cost = plan_of(CIFAR100, "method=static", f"sparsity={sparsity}", *PLAIN).prediction()
    assert round(cost["train_flops_paper"] / 1e15, 2) == printed
    assert cost["train_flops_dense"] == 6 * MACS * 50_000 * 160


def test_mest_row_before_freezing_and_sieving() -> None:
    cost = plan_of(CIFAR100, *PLAIN).prediction()
    assert cost["train_flops_paper"] / 1e15 == pytest.approx(1.757, abs=0.0005)


@pytest.mark.parametrize(("both", "printed"), [(0.10, 1.42), (0.15, 1.27), (0.20, 1.12)])
def test_spfde_rows(both: float, printed: float) -> None:
    cost = plan_of(CIFAR100, f"freeze={both}", f"sieve={both}").prediction()
    assert round(cost["train_flops_paper"] / 1e15, 2) == printed
    assert cost["flops_reduction_freeze"] == pytest.approx(both, abs=2e-4)
    assert cost["flops_reduction_sieve"] == pytest.approx(both)
    assert cost["flops_reduction_total"] == pytest.approx(1 - (1 - both) ** 2, abs=2e-4)


# -- freezing through the configuration


@pytest.mark.parametrize(("target", "first", "blocks"), [(0.10, 80, 5), (0.15, 70, 8), (0.20, 60, 9), (0.25, 60, 13)])
def test_table_a4(target: float, first: int, blocks: int) -> None:
    plan = plan_of(CIFAR100, f"freeze={target}")
    assert (plan.freeze.frozen.index(1), plan.freeze.frozen[-1]) == (first, blocks)


def test_errors_name_the_largest_reachable() -> None:
    with pytest.raises(UserError, match=r"27\.16 %"):
        plan_of(CIFAR100, "freeze=0.3", "freeze.t_freeze=60")
    with pytest.raises(UserError, match=r"23\.07 %"):
        plan_of(CIFAR100, "freeze=0.25", "freeze.t_freeze=60", "freeze.accounting=trained")


@pytest.mark.parametrize(("target", "first", "blocks"), [(0.10, 80, 7), (0.15, 70, 9), (0.20, 60, 12)])
def test_trained_accounting(target: float, first: int, blocks: int) -> None:
    plan = plan_of(CIFAR100, f"freeze={target}", f"freeze.t_freeze={first}", "freeze.accounting=trained")
    cost = plan.prediction()
    assert (plan.freeze.frozen.index(1), plan.freeze.frozen[-1]) == (first, blocks)
    assert cost["flops_reduction_freeze_trained"] == pytest.approx(target, abs=3e-4)
    assert cost["flops_reduction_freeze"] > target + 0.01


@pytest.mark.parametrize(("epochs", "first"), [(80, 40), (125, 65), (272, 135), (320, 160)])
def test_published_freeze_epochs_scale_as_given_ones_do(epochs: int, first: int) -> None:
    """Half of the epochs, to the nearest multiple of 5: Table A4's 80 of 160."""
    auto = plan_of(CIFAR100, "freeze=0.1", f"epochs={epochs}")
    given = plan_of(CIFAR100, "freeze=0.1", f"epochs={epochs}", "freeze.t_freeze=80")
    assert given.freeze.frozen.index(1) == first
    assert auto.freeze == given.freeze


# -- the rest of a plan


def test_sieve_of_cifar() -> None:
    plan = plan_of(CIFAR100, "freeze=none", "sieve=0.2")
    assert (plan.sieve.examples, plan.sieve.removed, plan.sieve.exchanged) == (50_000, 10_000, 3_000)
    assert list(plan.sieve_updates()) == list(range(5, 160, 5))
    assert plan_of(CIFAR100, *PLAIN).sieve_updates() == range(0)


def test_kept_counts_follow_the_schedule_and_rest_at_the_target() -> None:
    plan = plan_of(*TINY, "freeze=0.2")
    blocks = {layer.name: layer.block for layer in plan.layers}
    weights = {layer.name: layer.weights for layer in plan.layers}
    assert "stem.conv" not in plan.prunable and "classifier" not in plan.prunable
    for epoch in range(20):
        for name, count in plan.kept(epoch).items():
            block = blocks[name]
            assert block is not None
            sparsity = 0.9 if plan.freeze.is_frozen(block, epoch) else plan.schedule.trained[epoch]
            assert abs(count - (1 - sparsity) * weights[name]) <= 0.5
    assert plan.kept(19) == plan.final_kept()


def test_totals_are_sums_over_epochs() -> None:
    plan = plan_of(*TINY)
    cost = plan.prediction()
    by_hand = figure_4 = 0
    for epoch in range(20):
        kept, frozen = plan.kept(epoch), plan.freeze.frozen[epoch]
        for layer in plan.layers:
            passes = 1 if layer.block is not None and layer.block < frozen else 3
            macs = kept.get(layer.name, layer.weights) * layer.positions
            by_hand += 2 * passes * macs * (1437 - 216)
        m = plan.memory(epoch)
        figure_4 += m.weights + m.weight_gradients + m.activations + m.activation_gradients
    assert plan.sieve.removed == 216  # 15 % of 1,437 is 215.55
    assert cost["train_flops"] == by_hand
    assert cost["memory_avg_bytes"] == pytest.approx(figure_4 / 20)
    assert cost["memory_min_bytes"] == min(plan.memory(epoch).figure_4 for epoch in range(20))


def test_parameters_and_sparsity() -> None:
    config = compose([CIFAR100, "method=static", "freeze=none", "sieve=none"])
    model = build_model(config)
    cost = make_plan(config, model).prediction()
    assert cost["params"] == sum(p.numel() for p in model.parameters()) == 1_872_132
    assert cost["sparsity"] == pytest.approx(0.9, abs=1e-4)
    assert cost["params_active"] == pytest.approx(1_872_132 - 0.9 * 1_853_440, abs=32)
    assert cost["sparsity_overall"] == pytest.approx(0.9 * 1_853_440 / 1_872_132, abs=1e-4)


def test_mest_memory_is_at_the_densest_epoch() -> None:
    plan = plan_of(CIFAR100, *PLAIN)
    masked, rows = 1_853_440, sum(layer.shape[0] + 1 for layer in plan.layers if layer.name in plan.prunable)
    expected = 0.15 * masked * (2 * 4 + 2) + 2 * rows + 8 * (864 + 12_800)
    assert plan.prediction()["memory_mest_bytes"] == pytest.approx(expected, rel=1e-4)


def test_dense_without_anything() -> None:
    plan = plan_of("sparsity=dense", "freeze=none", "sieve=none")
    cost = plan.prediction()
    assert plan.prunable == () and cost["sparsity"] == 0.0 and cost["params_active"] == cost["params"]
    assert cost["train_flops"] == cost["train_flops_dense"] == pytest.approx(cost["train_flops_paper"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.subset=2000"], "dataset.subset=2000 is more than the 1437"),
        (["dataset.subset=10", "sieve=0.96"], "would leave none of 10 examples"),
        (["sparsity=0.999", "model.width=0.25"], "cannot be met by layer"),
    ],
)
def test_impossible_plans_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_of(*overrides)


def test_runs_that_differ_in_the_seed_share_a_plan_and_others_do_not() -> None:
    plan = plan_of(*TINY)
    assert plan_of(*TINY, "seed=7", "optim.lr=0.3", "precision=bf16", "device=cpu") is plan
    for override in ("sieve=0.2", "freeze=0.2", "sparsity=0.8", "optim.batch_size=16", "dst.every=1", "model.width=1"):
        assert plan_of(*TINY, override) != plan


def test_planning_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    plan_of("model=resnet20", "model.width=0.3125")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_given_model_is_measured_itself() -> None:
    narrow, wide = compose([]), compose(["model.width=1"])
    assert make_plan(narrow, build_model(wide)).layers == make_plan(wide).layers != make_plan(narrow).layers


def test_a_plan_is_not_changed_by_those_who_read_it() -> None:
    plan = plan_of(*TINY)
    plan.kept(0).clear()
    plan.prediction().clear()
    assert plan.kept(0) and plan.prediction()


def test_a_hold_out_leaves_fewer_to_train() -> None:
    assert train_size(compose(["dataset.val_fraction=0.1"])) == 1437 - 144
    assert train_size(compose(["dataset.subset=200"])) == 200


def test_plan_json_can_be_written_and_read() -> None:
    plan = plan_of(*TINY)
    told = json.loads(json.dumps(plan.to_dict()))
    assert told["freeze"]["frozen_blocks"] == list(plan.freeze.frozen)
    updates = list(range(2, 20, 2))
    assert told["sieve"] == {"examples": 1437, "removed": 216, "exchanged": 65, "updates": updates}
    assert told["prediction"] == plan.prediction()
    assert len(told["sparsity"]["trained"]) == 20 and told["sparsity"]["target"] == 0.9
