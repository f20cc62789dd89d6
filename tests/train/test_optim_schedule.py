"""Warm-up, cosine and steps by hand, for the whole network and for blocks that freeze on the way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spfde_exp.config import compose
from spfde_exp.data import load
from spfde_exp.errors import UserError
from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.plan import build_model, make_plan
from spfde_exp.schema import Optim
from spfde_exp.train.optim import BlockSGD
from spfde_exp.train.trainer import Trainer

BLOCKS = [("one", ["one"]), ("two", ["two"])]


def rates(plan: FreezePlan, block: str | None = None, **settings: object) -> list[float]:
    """Learning rate in each epoch of a block (or of the classifier) while it is trained."""
    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("one", "two", "head")})
    basics = {"lr": 0.1, "end_lr": 0.0, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False, "batch_size": 4}
    optimizer = BlockSGD(model, BLOCKS, Optim(**{**basics, **settings}))
    number = {"one": 0, "two": 1, None: None}[block]
    found = []
    for epoch in range(plan.epochs):
        told = optimizer.start_epoch(plan, epoch)
        by_block = {group["block"]: group["lr"] for group in optimizer.sgd.param_groups}
        assert told == by_block[None]
        if number in by_block:
            found.append(by_block[number])
    return found


def never_frozen(epochs: int) -> FreezePlan:
    return FreezePlan.none(epochs, ("one", "two"), (0.5, 0.4))


def test_steps_of_a_carried_over_baseline() -> None:
    """GraSP's tables: 160 epochs, 0.1, a tenth of it from epoch 80 on, a hundredth from 120 on."""
    found = rates(never_frozen(160), schedule="step", steps=[0.5, 0.75])
    assert found == pytest.approx([0.1] * 80 + [0.01] * 40 + [0.001] * 40)


def test_any_number_of_steps() -> None:
    assert rates(never_frozen(5), schedule="step", steps=[]) == pytest.approx([0.1] * 5)
    assert rates(never_frozen(10), schedule="step", steps=[0.1, 0.3, 0.7]) == pytest.approx(
        [0.1] + 2 * [0.01] + 4 * [0.001] + 3 * [0.0001]
    )


@given(st.integers(1, 400), st.integers(1, 99))
def test_a_step_comes_with_the_first_epoch_at_or_after_its_share(epochs: int, percent: int) -> None:
    found = rates(never_frozen(epochs), schedule="step", steps=[percent / 100])
    before = -(-epochs * percent // 100)
    assert found == pytest.approx([0.1] * before + [0.01] * (epochs - before))


def test_a_block_that_freezes_steps_within_its_own_epochs() -> None:
    """Block one rests from epoch 8 of 16 on, block two from 12 on: each falls at half and at three quarters of that."""
    plan = FreezePlan.sequential(16, ("one", "two"), (0.5, 0.4), [8, 12])
    expected = {"one": 4 * [0.1] + 2 * [0.01] + 2 * [0.001], "two": 6 * [0.1] + 3 * [0.01] + 3 * [0.001]}
    expected |= {None: 8 * [0.1] + 4 * [0.01] + 4 * [0.001]}  # type: ignore[dict-item]
    for block, values in expected.items():
        assert rates(plan, block, schedule="step", steps=[0.5, 0.75]) == pytest.approx(values)


def test_warm_up_rises_in_equal_steps_and_the_cosine_takes_the_rest() -> None:
    """Four epochs up; then cos(0), cos(60), cos(120) degrees of the remaining three."""
    found = rates(never_frozen(7), lr=0.4, end_lr=0.04, warmup_epochs=4)
    assert found == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.04 + 0.36 * 0.75, 0.04 + 0.36 * 0.25])


def test_imagenet_of_both_papers_reaches_its_rate_in_the_eighth_epoch() -> None:
    found = rates(never_frozen(150), lr=2.048, end_lr=0.0, warmup_epochs=8)
    assert found[:8] == pytest.approx([0.256 * k for k in range(1, 9)])
    assert found[8] == pytest.approx(2.048)
    assert found[8 + 71] == pytest.approx(1.024)  # half of the 142 epochs that are left
    assert found[-1] < 1e-3


def test_warm_up_does_not_move_the_steps() -> None:
    found = rates(never_frozen(8), lr=0.1, schedule="step", steps=[0.5, 0.75], warmup_epochs=2)
    assert found == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_warm_up_and_the_cosine_of_a_block() -> None:
    """Two epochs up; block one then has four epochs for its cosine, the classifier eight."""
    plan = FreezePlan.sequential(10, ("one", "two"), (0.5, 0.4), [6, 10])
    half = 0.5**0.5
    quarters = [1, (1 + half) / 2, 0.5, (1 - half) / 2]
    assert rates(plan, "one", warmup_epochs=2) == pytest.approx([0.05, 0.1, *[0.1 * q for q in quarters]])
    assert rates(plan, None, warmup_epochs=2)[2::2] == pytest.approx([0.1 * q for q in quarters])


def test_a_block_may_freeze_before_warm_up_ends() -> None:
    plan = FreezePlan.sequential(6, ("one", "two"), (0.5, 0.4), [2, 3])
    assert rates(plan, "one", warmup_epochs=4) == pytest.approx([0.025, 0.05])
    assert rates(plan, "two", warmup_epochs=4) == pytest.approx([0.025, 0.05, 0.075])


@pytest.mark.parametrize("effort", [0.5, 1, 1.7])
def test_warm_up_scales_with_the_epochs(effort: float) -> None:
    base = ["recipe=cifar10", "freeze=none"]
    config = compose([*base, "optim.warmup_epochs=8", f"effort={effort}"])
    assert config.optim.warmup_epochs == {0.5: 4, 1: 8, 1.7: 14}[effort]  # 13.6
    assert compose([*base, "optim.warmup_epochs=8", "epochs=1"]).optim.warmup_epochs == 0


def test_warm_up_ends_before_the_last_epoch_of_a_short_run() -> None:
    assert compose(["debug=tiny", "freeze=none", "optim.warmup_epochs=8"]).optim.warmup_epochs == 7


def test_what_a_schedule_does_not_read_is_not_part_of_a_run() -> None:
    step = compose(["optim.schedule=step", "optim.end_lr=1", "optim.steps=[0.75,0.5]"])
    assert step == compose(["optim.schedule=step"])
    assert (step.optim.steps, step.optim.end_lr) == ([0.5, 0.75], 0.0)
    assert compose(["optim.steps=[0.3]"]) == compose()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.schedule=linear", "optim.schedule=linear is unknown; allowed: cosine, step"),
        ("optim.steps=[0.5,1]", "optim.steps=[0.5, 1.0] is impossible; allowed: a list of numbers above 0 and below 1"),
        ("optim.steps=0.5", "optim.steps takes a list"),
        ("optim.warmup_epochs=-1", "allowed: a whole number from 0"),
        ("optim.label_smoothing=1", "allowed: a number from 0 up to, not including, 1"),
    ],
)
def test_impossible_settings(override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        compose([override])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_label_smoothing_enters_the_training_loss_alone() -> None:
    """(1 - a) x cross-entropy + a x the mean over classes of -log p, in float64."""
    config = compose(["debug=tiny", "optim.label_smoothing=0.1", "dataset.subset=20", "sieve=none", "logger=none"])
    torch.manual_seed(0)
    model = build_model(config)
    trainer = Trainer(config, make_plan(config, model), model, load("digits", "", subset=20), torch.device("cpu"))
    x, y, _ = next(trainer.batches.epoch(torch.arange(20), torch.Generator().manual_seed(0)))
    log_p = model.train()(x).double().log_softmax(1)
    own = -log_p[torch.arange(20), y]
    loss, _, _ = trainer.train_step(trainer.at(0, 0, 1), x, y)
    assert loss.item() == pytest.approx((0.9 * own - 0.1 * log_p.mean(1)).mean().item(), rel=1e-5)
    plain = trainer.evaluate("test")["test_loss"]
    trainer.config.optim.label_smoothing = 0.0
    assert trainer.evaluate("test")["test_loss"] == plain
