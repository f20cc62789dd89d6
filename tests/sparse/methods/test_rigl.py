"""RigL and RigL-ITOP by hand: smallest weights go, largest dense gradients grow, and what that leaves of a step."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

WEIGHTS = {"a": [4.0, -1.0, 3.0, 0.5, 0.0, 0.0, 0.0, 0.0]}
KEPT = {"a": [1, 1, 1, 1, 0, 0, 0, 0]}
#                 drops 1 and 3; grows 5 (new) and 1, whose gradient is the second largest outside of 0 and 2
GRADIENTS = {"a": [9.0, -3.0, 9.0, 0.1, 0.2, -5.0, 2.0, 0.3]}
AFTER = [1, 1, 1, 0, 0, 1, 0, 0]
HALF = {"drop": 0.5, "decay": "constant", "every_steps": 1}


def test_exactly_the_largest_gradients_grow(bench: Any) -> None:
    one = bench("rigl", WEIGHTS, KEPT, **HALF)
    assert one.step(GRADIENTS, count=1)
    assert one.mask() == AFTER


def test_what_is_dropped_and_grown_keeps_its_value_and_new_weights_are_zero(bench: Any) -> None:
    one = bench("rigl", WEIGHTS, KEPT, momentum=0.9, **HALF)
    one.step({"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]}, count=0)  # no update in the first step of a run
    assert one.mask() == KEPT["a"]
    assert one.values() == pytest.approx([3.9, -1.2, 2.7, 0.1, 0, 0, 0, 0])
    one.step(GRADIENTS, count=1)
    assert one.mask() == AFTER
    assert one.values() == pytest.approx([3.9, -1.2, 2.7, 0, 0, 0, 0, 0])
    assert one.momentum().tolist() == [1, 2, 3, 0, 0, 0, 0, 0]
    assert one.weights["a"].grad.tolist() == pytest.approx([9, -3, 9, 0, 0, -5, 0, 0])


def test_the_update_takes_the_place_of_the_optimisers_step(bench: Any) -> None:
    one = bench("rigl", WEIGHTS, KEPT, momentum=0.9, weight_decay=0.1, **HALF)
    assert one.step(GRADIENTS, count=1)
    assert one.values() == [4.0, -1.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert not one.optimizer.state
    assert not one.step(GRADIENTS, epoch=9, count=9)  # after the end, at 75 % of ten epochs
    assert one.values()[0] == pytest.approx(4.0 - 0.1 * (9.0 + 0.1 * 4.0))


def test_the_share_follows_the_cosine_within_an_epoch(bench: Any) -> None:
    """Half-way to the end, in epoch 3.75 of 10: 15 % of 100 weights."""
    one = bench(
        "rigl", {"a": [float(n) for n in range(1, 101)] + [0.0] * 100}, {"a": [1] * 100 + [0] * 100}, every_steps=1
    )
    one.step({"a": [0.0] * 100 + [1.0] * 100}, epoch=3, index=3, steps=4, count=15)
    assert one.mask() == [0] * 15 + [1] * 85 + [1] * 15 + [0] * 85


@given(data=st.data(), kept=st.lists(st.booleans(), min_size=2, max_size=30).filter(any), drop=st.floats(0.01, 0.99))
def test_drop_and_growth_as_a_sort_would(data: st.DataObject, kept: list[bool], drop: float, bench: Any) -> None:
    size = len(kept)
    numbers = st.lists(st.floats(-10, 10, width=32), min_size=size, max_size=size)
    weights, gradients = data.draw(numbers), data.draw(numbers)
    one = bench("rigl", {"a": weights}, {"a": [int(k) for k in kept]}, drop=drop, decay="constant", every_steps=1)
    one.step({"a": gradients}, count=1)
    active = [place for place in range(size) if kept[place]]
    count = int(drop * len(active))
    stay = highest([abs(w) for w in weights], active, len(active) - count)
    grown = highest([abs(g) for g in gradients], [p for p in range(size) if p not in stay], count)
    assert one.mask() == [int(place in stay | grown) for place in range(size)]


def highest(score: Sequence[float], among: Sequence[int], count: int) -> set[int]:
    return set(sorted(among, key=lambda place: (-score[place], place))[:count])


# -- ITOP


def test_itop_follows_the_step_and_takes_its_gradients(bench: Any) -> None:
    """The step, by 0.1 g, makes weight 0 smaller than weight 1: it goes, and does not come back."""
    one = bench("rigl_itop", {"a": [4.0, 3.2, 0.0, 0.0]}, {"a": [1, 1, 0, 0]}, **HALF)
    one.method.draw(None, None)
    one.masks.kept["a"][:] = one.masks.kept["a"].new_tensor([1, 1, 0, 0])
    one.weights["a"].data[:] = one.weights["a"].new_tensor([4.0, 3.2, 0, 0])
    assert not one.step({"a": [10.0, 1.0, 2.0, -11.0]}, count=1)
    assert one.mask() == [0, 1, 0, 1]
    assert one.values() == pytest.approx([0, 3.1, 0, 0])


def test_the_rate_is_the_share_of_all_positions_ever_active(bench: Any) -> None:
    """Union of masks by hand, over two layers of 4 and 6 weights."""
    one = bench("rigl_itop", {"a": [9.0] * 4, "b": [9.0] * 6}, **HALF)
    one.method.draw(None, None)  # half of each: five of ten positions
    assert one.method.metrics() == {"itop_rate": 0.5}
    union = {(layer, place) for layer in "ab" for place, kept in enumerate(one.mask(layer)) if kept}
    for count in range(1, 5):
        empty = {layer: [place for place, kept in enumerate(one.mask(layer)) if not kept] for layer in "ab"}
        wanted = {layer: places[count % len(places)] for layer, places in empty.items()}  # one grows in each
        one.step(
            {"a": [float(p == wanted["a"]) for p in range(4)], "b": [float(p == wanted["b"]) for p in range(6)]},
            count=count,
        )
        assert all(one.mask(layer)[wanted[layer]] for layer in "ab")
        union |= {(layer, place) for layer in "ab" for place, kept in enumerate(one.mask(layer)) if kept}
        assert one.method.metrics() == {"itop_rate": len(union) / 10}
    assert len(union) > 6


def test_the_rate_survives_a_checkpoint(bench: Any) -> None:
    one = bench("rigl_itop", {"a": [9.0] * 4}, **HALF)
    one.method.draw(None, None)
    one.method.seen["a"][:] = True
    other = bench("rigl_itop", {"a": [9.0] * 4}, **HALF)
    other.method.load_state_dict(one.method.state_dict())
    assert other.method.metrics() == {"itop_rate": 1.0}
