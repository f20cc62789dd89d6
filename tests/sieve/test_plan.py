"""Examples per epoch of every mode, against sums over epochs and the figures that the papers print."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp.config import compose, identity, resolve, signature
from spfde_exp.errors import UserError
from spfde_exp.plan import make_plan
from spfde_exp.sieve.plan import SievePlan

CIFAR100 = ["recipe=cifar100", "freeze=none"]
DE = ["sieve=two_phase", "sieve.count=12000"]


@given(
    examples=st.integers(2, 60),
    share=st.floats(0, 0.99),
    phase1=st.integers(0, 9),
    density=st.lists(st.floats(0.01, 1), min_size=10, max_size=30),
)
def test_the_reduction_is_the_share_of_presentations(
    examples: int, share: float, phase1: int, density: list[float]
) -> None:
    plan = SievePlan(examples, int(share * examples), phase1=phase1)
    whole = sum(density) * examples
    executed = sum(d * plan.trained(epoch) for epoch, d in enumerate(density))
    assert plan.reduction(density) == pytest.approx(1 - executed / whole, abs=1e-12)


def test_circular_removes_from_the_start_and_two_phase_at_once() -> None:
    circular, once = SievePlan(10, 3, 1, every=5), SievePlan(10, 3, phase1=4)
    assert [circular.trained(epoch) for epoch in (0, 4, 5, 9)] == [7, 7, 7, 7]
    assert [once.trained(epoch) for epoch in (0, 3, 4, 9)] == [10, 10, 7, 7]
    assert (list(circular.updates(12)), list(once.updates(12))) == ([5, 10], [4])
    assert SievePlan(10).updates(12) == range(0)


# -- the papers' figures


def test_mest_with_data_efficiency_costs_what_spfde_prints() -> None:
    """SpFDE Table 2 and A6: MEST 1.54e15 at 90 %, which is EM&S with 12,000 of 50,000 removed at epoch 70 of 160."""
    cost = make_plan(compose([*CIFAR100, *DE])).prediction()
    assert round(cost["train_flops_paper"] / 1e15, 2) == 1.54
    assert cost["flops_reduction_sieve"] == pytest.approx(12_000 / 50_000 * 90 / 160)
    by_ratio = make_plan(compose([*CIFAR100, "sieve=two_phase", "sieve.ratio=0.24"])).prediction()
    assert by_ratio == cost


def test_table_l1() -> None:
    plan = make_plan(
        compose([*CIFAR100, "sieve=two_phase", "sieve.count=17900", "sieve.phase1_epochs=40", "recipe=cifar10"])
    )
    assert plan.to_dict()["sieve"] == {"examples": 50_000, "removed": 17_900, "exchanged": 0, "updates": [40]}


def test_each_epoch_costs_what_it_trains() -> None:
    plan, whole = (make_plan(compose(["freeze=0.2", *sieve])) for sieve in (["sieve=two_phase", "sieve.count=437"], []))
    assert [plan.sieve.trained(epoch) for epoch in (34, 35)] == [1437, 1000]  # 7/16 of 80 epochs
    full = make_plan(compose(["freeze=0.2", "sieve=none"]))
    for epoch in range(80):
        assert plan.epoch_flops(epoch) * 1437 == full.epoch_flops(epoch) * (1437 if epoch < 35 else 1000)
    assert plan.simulated_flops(35) * 1437 == full.simulated_flops(35) * 1000
    assert whole.sieve.updates(80) == range(5, 80, 5)


# -- what a threshold removes only training tells


def test_a_threshold_leaves_the_cost_unknown() -> None:
    plan, whole = (make_plan(compose(["freeze=none", f"sieve={mode}"])) for mode in ("two_phase", "none"))
    cost, bound = plan.prediction(), whole.prediction()
    assert cost.pop("unknown") == plan.unknown == [
        "flops_reduction_sieve", "flops_reduction_total", "train_flops", "train_flops_paper", "train_flops_simulated",
    ]  # fmt: skip
    assert cost == bound and whole.unknown == []
    assert plan.to_dict()["sieve"]["removed"] is None


def test_the_run_tells() -> None:
    plan = make_plan(compose(["freeze=none", "sieve=two_phase"]))
    told = plan.realised([{"train_examples": 1437}, {"train_examples": 1000}], plan.final_kept())
    given = make_plan(compose(["freeze=none", "sieve=two_phase", "sieve.count=437"]))
    assert told.prediction() == given.prediction() and told.unknown == []
    assert given.realised([{"train_examples": 1000}], given.final_kept()).sieve == given.sieve


# -- keys


def test_data_efficiency_is_one_line() -> None:
    sieve = compose(["recipe=cifar100", "method=mest_ems", "sieve=two_phase"]).sieve
    assert (sieve.mode, sieve.phase1_epochs, sieve.threshold, sieve.count, sieve.ratio) == ("two_phase", 70, 0, None, 0)
    assert compose(["sieve=0.2"]).sieve.mode == "circular"


@pytest.mark.parametrize(
    ("overrides", "phase1"),
    [
        (["recipe=cifar100", "effort=0.5"], 35),
        (["recipe=cifar100", "epochs=272"], 120),  # 119, to the interval
        (["recipe=cifar100", "sieve.phase1_epochs=40"], 40),
        (["recipe=cifar100", "sieve.phase1_epochs=40", "effort=0.5"], 20),
        (["recipe=digits"], 35),
        (["debug=tiny"], 4),
        (["epochs=2"], 1),
    ],
)
def test_the_first_phase_scales_with_the_epochs(overrides: list[str], phase1: int) -> None:
    config = compose(["sieve=two_phase", *overrides])
    assert config.sieve.phase1_epochs == phase1
    assert resolve(asdict(config)) == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sieve.threshold=1", "sieve.count=5"], "sieve.threshold=1 and sieve.count=5 say twice"),
        (["sieve.ratio=0.1", "sieve.count=5"], "sieve.count=5 and sieve.ratio=0.1 say twice"),
        (["sieve.phase1_epochs=80"], "sieve.phase1_epochs=80 leaves no second phase in 80 epochs"),
        (["epochs=1"], "leaves no second phase in 1 epochs"),
        (["sieve.count=1437"], "sieve.count=1437 would leave none of 1437 examples"),
        (["sieve.count=0"], "sieve.count=0 is impossible"),
        (["sieve.threshold=-1"], "sieve.threshold=-1 is impossible"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        make_plan(compose(["sieve=two_phase", *overrides]))
    assert "\n" not in str(error.value)


def test_what_a_mode_does_not_read_does_not_name_its_run() -> None:
    assert not {key for key in identity(compose(["sieve=0.2"])) if key.split(".")[-1] in {"phase1_epochs", "count"}}
    names = [
        signature(compose(["sieve=two_phase", *more]))
        for more in ([], ["sieve.threshold=0"], ["sieve.threshold=1"], ["sieve.count=9"], ["sieve.phase1_epochs=40"])
    ]
    assert names[0] == names[1] and len(set(names)) == 4
