"""Levels of a lottery ticket, and the ticket: the weights that ended largest, from where they began."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spfde_exp.config import compose
from spfde_exp.data import load
from spfde_exp.errors import UserError
from spfde_exp.plan import build_model, make_plan
from spfde_exp.schema import MethodConfig
from spfde_exp.sparse.methods.lth import Lth
from spfde_exp.train.trainer import Trainer

SMALL = ["debug=tiny", "threads=1", "logger=none", "dataset.subset=100", "dataset.test_subset=50", "model.width=0.25"]


def levels(target: float, drop: float = 0.2) -> list[float]:
    """Sparsities of all runs before that at `target`, the dense one first."""
    found, config = [], MethodConfig("lth", drop=drop)
    while target:
        target = Lth.previous_level(target, config)
        found.insert(0, target)
    return found


# -- which levels


@pytest.mark.parametrize(
    ("target", "before", "last"),
    [(0.9, 11, 1 - 0.8**10), (0.95, 14, 1 - 0.8**13), (0.98, 18, 1 - 0.8**17), (0.2, 1, 0.0), (0.1, 1, 0.0),
     (0.36, 2, 0.2), (0.37, 3, 0.36)],
)  # fmt: skip
def test_a_fifth_of_what_is_left_goes_at_each_level(target: float, before: int, last: float) -> None:
    """0.8^10 is 10.7 % and 0.8^11 8.6 %: the eleventh level takes less than a fifth, to hit 90 % exactly."""
    found = levels(target)
    assert found == pytest.approx([1 - 0.8**n for n in range(before)])
    assert found[-1] == pytest.approx(last)


@given(drop=st.floats(0.05, 0.95), one=st.floats(0.01, 0.99), other=st.floats(0.01, 0.99))
def test_targets_share_their_levels(drop: float, one: float, other: float) -> None:
    fewer, more = sorted([levels(round(one, 4), drop), levels(round(other, 4), drop)], key=len)
    assert more[: len(fewer)] == fewer
    assert all(a < b for a, b in zip([*fewer, 1.0], [*fewer[1:], 1.0, 2.0], strict=False))


@given(drop=st.floats(0.01, 0.99), remaining=st.integers(0, 9), digit=st.integers(1, 9))
@settings(max_examples=30)
def test_levels_always_come_to_an_end(drop: float, remaining: int, digit: int) -> None:
    """Also where sparsities, which have ten digits, are as near to 1 as they get."""
    target, config = round(1 - digit * 10.0**-remaining, 10), MethodConfig("lth", drop=drop)
    while target > 0:
        before = Lth.previous_level(target, config)
        assert 0 <= before < target
        target = before if before < 0.9 else min(before, 1 - 2 * (1 - before))


def test_levels_that_cannot_be_trained_are_refused() -> None:
    for drop in ("0.0005", "1e-11"):
        with pytest.raises(UserError, match=r"makes too many levels, .*; allowed for lth: a number from 0.01 below 1"):
            compose(["method=lth", f"method.drop={drop}"])


def trainer_of(*overrides: str) -> Trainer:
    config = compose([*SMALL, "freeze=none", "sieve=none", *overrides])
    torch.manual_seed(config.seed)
    model = build_model(config)
    data = load("digits", config.dataset.root, subset=100, test_subset=50)
    return Trainer(config, make_plan(config, model), model, data, torch.device("cpu"))


def copied(trainer: Trainer) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in trainer.model.state_dict().items()}


def final_weights(trainer: Trainer) -> dict[str, Tensor]:
    return {layer: torch.randn(w.shape) for layer, w in trainer.masks.weights.items()}


def top(final: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """Masks of the `count` largest magnitudes of all layers, by a sort of Python's."""
    places = [(layer, place) for layer, weight in final.items() for place in range(weight.numel())]
    places.sort(key=lambda at: -abs(float(final[at[0]].flatten()[at[1]])))
    masks = {layer: torch.zeros(weight.numel(), dtype=torch.bool) for layer, weight in final.items()}
    for layer, place in places[:count]:
        masks[layer][place] = True
    return {layer: mask.view_as(final[layer]) for layer, mask in masks.items()}


def test_the_largest_final_weights_start_again_where_they_began() -> None:
    trainer = trainer_of("method=lth", "sparsity=0.9")
    first, final = copied(trainer), final_weights(trainer)
    trainer.method.inherit(final)
    trainer.begin(inherited_flops=5)
    sizes = [weight.numel() for weight in final.values()]
    ticket = top(final, sum(int(0.1 * size + 0.5) for size in sizes))
    assert all(torch.equal(trainer.masks.kept[layer], mask) for layer, mask in ticket.items())
    for key, value in trainer.model.state_dict().items():
        mask = ticket.get(key.removesuffix(".weight"))
        assert torch.equal(value, first[key] if mask is None else first[key] * mask)
    assert trainer.setup_flops == 5
    for epoch in range(8):
        trainer.start_epoch(epoch)
        trainer.train_epoch(epoch)
    assert all(torch.equal(trainer.masks.kept[layer], mask) for layer, mask in ticket.items())


def test_rewinding_goes_back_to_an_epoch_of_the_dense_run_bit_for_bit() -> None:
    dense = trainer_of("method=dense")
    dense.begin()
    trainer = trainer_of("method=lth", "method.rewind_epochs=2")
    final = final_weights(trainer)
    trainer.method.inherit(final)
    trainer.begin()
    for epoch in range(2):
        rows = []
        for one in (dense, trainer):
            one.start_epoch(epoch)
            rows.append(one.train_epoch(epoch))
        assert rows[0]["train_loss"] == rows[1]["train_loss"] and rows[1]["sparsity"] == 0
        assert rows[0]["epoch_flops"] == rows[1]["epoch_flops"]
    assert trainer.plan.schedule.trained == (0.0, 0.0, *[0.9] * 6)
    torch.manual_seed(1)  # as when another process goes on
    other = trainer_of("method=lth", "method.rewind_epochs=2")
    other.load_state_dict(trainer.state_dict(2))
    for one in (trainer, other):
        one.start_epoch(2)
        count = sum(one.masks.distribution.weights(layer, 0.9) for layer in final)
        ticket = top(final, count)
        for key, value in one.model.state_dict().items():
            mask = ticket.get(key.removesuffix(".weight"))
            assert torch.equal(value, dense.model.state_dict()[key] * (1 if mask is None else mask))


def test_a_layer_that_freezes_before_the_rewinding_gets_its_ticket_first() -> None:
    trainer = trainer_of("method=lth", "method.rewind_epochs=3")
    final = final_weights(trainer)
    trainer.method.inherit(final)
    trainer.begin()
    ticket = top(final, sum(trainer.masks.distribution.weights(layer, 0.9) for layer in final))
    first, *others = final
    trainer.method.rest(first)
    assert torch.equal(trainer.masks.kept[first], ticket[first])
    assert all(trainer.masks.kept[layer].all() for layer in others)
    trainer.method.start_epoch(3, others)
    assert all(torch.equal(trainer.masks.kept[layer], mask) for layer, mask in ticket.items())


@pytest.mark.parametrize("epoch", [8, 100])
def test_rewinding_beyond_the_end_is_refused(epoch: int) -> None:
    with pytest.raises(UserError, match=rf"method.rewind_epochs={epoch} leaves .* epochs=8; allowed: up to 7"):
        make_plan(compose([*SMALL, "method=lth", f"method.rewind_epochs={epoch}"]))


# -- rewinding and freezing: the first epochs have to be those of the dense run

LONG = ["method=lth", "sieve=none", "epochs=40", "dst.base_epochs=40", "dst.every=5"]


@pytest.mark.parametrize(
    ("freeze", "latest"),
    [
        (["freeze=0.1", "freeze.t_freeze=20"], 20),
        (["freeze=single_shot_resume", "freeze.t_freeze=20", "freeze.target=0.1", "freeze.resume_epochs=4"], 16),
        (["freeze=periodic"], 1),
        (["freeze=delayed_periodic"], 10),
        (["freeze=freezeout", "freeze.t_freeze=8"], 8),
        (["freeze=autofreeze", "freeze.intervals=4"], 20),  # decides at 10, 20 and 30; the first only compares
        (["freeze=none"], 39),
    ],
)
def test_no_block_freezes_before_the_rewinding(freeze: list[str], latest: int) -> None:
    make_plan(compose([*LONG, *freeze, f"method.rewind_epochs={latest}"]))
    if latest < 39:
        with pytest.raises(UserError, match=rf"{latest + 1} is after epoch {latest}, .*; allowed: up to {latest}, or"):
            make_plan(compose([*LONG, *freeze, f"method.rewind_epochs={latest + 1}"]))


def test_rewinding_needs_a_freeze_that_is_the_same_in_every_level() -> None:
    trained = [*LONG, "freeze=0.1", "freeze.accounting=trained"]
    make_plan(compose(trained))
    with pytest.raises(UserError, match=r"rewind_epochs=2 with freeze.accounting=trained .*; choose") as error:
        make_plan(compose([*trained, "method.rewind_epochs=2"]))
    assert "\n" not in str(error.value)


def test_what_cannot_be_rewound_is_told_by_a_dry_run_and_leaves_nothing(run_cli: Any, tmp_path: Path) -> None:
    for mode in ([], ["dry_run=true"]):
        ran = run_cli(*LONG, *SMALL[1:], "freeze=periodic", "method.rewind_epochs=2", *mode, cwd=tmp_path)
        assert ran.returncode == 1 and len(ran.stderr.splitlines()) == 1
        assert "method.rewind_epochs=2 is after epoch 1" in ran.stderr
    assert not list(tmp_path.rglob("*.json*"))
