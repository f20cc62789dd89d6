"""Structural similarity with the final model, worked out by hand (SpFDE section 3.1)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spfde_exp.hooks.similarity import FinalStructure, significant


def mask(text: str) -> torch.Tensor:
    return torch.tensor([letter == "x" for letter in text])


def test_the_larger_half_of_the_kept_weights() -> None:
    weight = torch.tensor([[0.0, -5.0, 1.0], [2.0, 0.0, -3.0]])
    assert significant(weight, mask(".xxx.x").view(2, 3)).tolist() == mask(".x...x").tolist()
    assert significant(weight, None).tolist() == mask(".x.x.x").tolist()


def test_half_of_an_odd_number_is_rounded_up_and_ties_go_to_the_lower_index() -> None:
    weight = torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0])
    assert significant(weight, mask(".xxx.")).tolist() == mask(".xx..").tolist()
    assert significant(weight, mask("x...x")).tolist() == mask("x....").tolist()  # grown a moment ago, still zero
    assert significant(weight, mask("..x..")).tolist() == mask("..x..").tolist()


def test_by_hand() -> None:
    # final: 0, 1, 4, 5 are kept, 4 and 5 are the larger half
    final = {"a": torch.tensor([1.0, 2.0, 0, 0, 7, 9, 0, 0])}
    structure = FinalStructure(final, {"a": mask("xx..xx..")})
    # now: of 0, 2, 3, 4, 6, 7 the larger half is 0, 3, 4; the final model keeps 0 and 4 of them
    now = {"a": torch.tensor([8.0, 0, 1, -6, 5, 0, 2, -3])}
    told = structure.compare(now, {"a": mask("x.xxx.xx")})
    assert told["similarity"]["a"] == pytest.approx(2 / 3)
    assert told["common"]["a"] == pytest.approx(1 / 2)  # 4 is large already, 5 is not


def test_a_dense_layer_is_compared_by_its_larger_half() -> None:
    final = {"a": torch.tensor([4.0, 3, 2, 1])}
    told = FinalStructure(final, {}).compare({"a": torch.tensor([4.0, 1, 2, 3])}, {})
    assert (told["similarity"], told["common"]) == ({"a": 1.0}, {"a": 0.5})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 20), st.integers(1, 20))
def test_against_sets(seed: int, kept_now: int, kept_final: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(kept: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.zeros(20, dtype=torch.bool)
        chosen[torch.randperm(20, generator=generator)[:kept]] = True
        return torch.randn(20, generator=generator) * chosen, chosen

    def large(weight: torch.Tensor, chosen: torch.Tensor) -> set[int]:
        places = sorted(chosen.nonzero().flatten().tolist(), key=lambda place: -abs(float(weight[place])))
        return set(places[: -(-len(places) // 2)])

    (w_now, m_now), (w_final, m_final) = draw(kept_now), draw(kept_final)
    told = FinalStructure({"a": w_final}, {"a": m_final}).compare({"a": w_now}, {"a": m_now})
    now, final = large(w_now, m_now), large(w_final, m_final)
    in_final = {place for place in now if m_final[place]}
    assert told["similarity"]["a"] == pytest.approx(len(in_final) / len(now))
    assert told["common"]["a"] == pytest.approx(len(now & final) / len(final))
    itself = FinalStructure({"a": w_now}, {"a": m_now}).compare({"a": w_now}, {"a": m_now})
    assert itself == {"similarity": {"a": 1.0}, "common": {"a": 1.0}}
