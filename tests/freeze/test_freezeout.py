"""FreezeOut's schedule (Brock et al., 2017) by hand on four equal blocks, and its solver against a fine grid."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spfde_exp.errors import UserError
from spfde_exp.freeze.freezeout import freezeout
from spfde_exp.freeze.solver import FreezeProblem

# Four blocks of a fifth of the FLOPs each, 16 epochs: a block frozen for one epoch saves 2/3 x 0.2 / 16 = 1/120.
TOY = FreezeProblem("toy", ("a", "b", "c", "d"), (0.2,) * 4, 16, 2)


def test_linear_spacing() -> None:
    """t = 1/2, 5/8, 3/4, 7/8 of 16 epochs; the classifier would be next, at 1."""
    plan = freezeout(TOY, 0.0, 8, "linear")
    assert plan.frozen == (0,) * 8 + (1, 1, 2, 2, 3, 3, 4, 4)


def test_cubic_spacing() -> None:
    """The cubes: 1/8, 0.244, 0.422, 0.670 of 16 epochs are 2, 3.9, 6.75 and 10.7."""
    plan = freezeout(TOY, 0.0, 2, "cubic")
    assert plan.frozen == (0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4)


def test_what_stops_earlier_starts_at_a_higher_rate() -> None:
    plan = freezeout(TOY, 0.0, 8, "linear")
    assert [plan.rate(block) for block in range(5)] == pytest.approx([16 / 8, 16 / 10, 16 / 12, 16 / 14, 1])
    assert freezeout(TOY, 0.0, 8, "linear", scale_lr=False).rate(0) == 1


def test_each_block_ends_its_annealing_as_it_freezes() -> None:
    plan = freezeout(TOY, 0.0, 8, "linear")
    assert [plan.progress(0, epoch) for epoch in (0, 4, 8)] == [0, 0.5, 1]
    assert plan.progress(4, 8) == 0.5


def test_solved_for_a_target() -> None:
    """Linear from 8: 8 + 6 + 4 + 2 = 20 block-epochs."""
    assert freezeout(TOY, 20 / 120, None, "linear").frozen == freezeout(TOY, 0.0, 8, "linear").frozen


def test_the_published_default_of_the_code_saves_a_fifth_of_resnet32() -> None:
    """t_0 = 0.8 cubed is epoch 82 of 160; 20 % of equal blocks needs about that."""
    shares = (1 / 15 * 0.9999,) * 15
    plan = freezeout(FreezeProblem("mine", tuple(map(str, range(15))), shares, 160, 5), 0.2, None)
    assert plan.frozen.index(1) == pytest.approx(0.8**3 * 160, abs=6)


def test_out_of_reach() -> None:
    """At most, linear: from epochs 1, 4, 8, 12 on, 15 + 12 + 8 + 4 = 39 block-epochs."""
    with pytest.raises(UserError, match=r"freeze=0\.4 is out of reach .* the largest reachable is 32\.50 %") as error:
        freezeout(TOY, 0.4, None, "linear")
    assert "\n" not in str(error.value) and "freeze.spacing=cubic" in str(error.value)


@settings(max_examples=60)
@given(st.data())
def test_no_other_start_is_nearer(data: Any) -> None:
    blocks, epochs = data.draw(st.integers(1, 7)), data.draw(st.integers(4, 60))
    weights = data.draw(st.lists(st.floats(0.1, 1), min_size=blocks + 1, max_size=blocks + 1))
    shares = tuple(w / sum(weights) for w in weights[:-1])
    target, power = data.draw(st.floats(0.01, 0.4)), data.draw(st.sampled_from([1, 3]))
    problem = FreezeProblem("mine", tuple(map(str, range(blocks))), shares, epochs, 1)

    def saved(start: float) -> float:
        stops = [max(1, int((start + (1 - start) * k / blocks) ** power * epochs + 0.5)) for k in range(blocks)]
        cells = sum(share * max(0, epochs - stop) for share, stop in zip(shares, stops, strict=True))
        return 2 * cells / (3 * epochs)

    reached = [saved(step / 500) for step in range(501)]
    spacing = {1: "linear", 3: "cubic"}[power]
    if target > reached[0]:
        with pytest.raises(UserError, match="out of reach"):
            freezeout(problem, target, None, spacing)
        return
    plan = freezeout(problem, target, None, spacing)
    assert abs(plan.reduction() - target) <= min(abs(value - target) for value in reached) + 1e-9
    assert list(plan.frozen) == sorted(plan.frozen) and plan.frozen[0] == 0
