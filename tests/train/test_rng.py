"""Generators that depend on their purpose only."""

import torch

from spfde_exp.train.rng import generator


def draws(*purpose: str | int) -> list[float]:
    seed, *rest = purpose
    return torch.rand(8, generator=generator(int(seed), *rest)).tolist()


def test_one_purpose_has_one_stream() -> None:
    first = draws(0, "structure", 4, 2)
    draws(0, "data", 4)
    assert draws(0, "structure", 4, 2) == first


def test_purposes_and_seeds_differ() -> None:
    purposes = [(seed, what, epoch) for seed in range(4) for what in ("data", "sieve") for epoch in range(50)]
    purposes += [(0, "mask"), (0, "sieve")]
    purposes += [(0, "structure", *place) for place in ((1, 11), (11, 1), (1, 1))]
    assert len({tuple(draws(*purpose)) for purpose in purposes}) == len(purposes)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    draws(3, "data", 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_follows_nothing_that_happened_before() -> None:
    torch.manual_seed(1)
    first = draws(0, "mask")
    torch.manual_seed(2)
    assert draws(0, "mask") == first


def test_streams_stay_what_they_were() -> None:
    """SHA-256 of the purpose, first 8 bytes, halved: old runs must go on with the same numbers.

    The figures are those of ``printf 0/data/0 | sha256sum`` and ``printf 7/structure/12/3 | sha256sum``.
    """
    assert generator(0, "data", 0).initial_seed() == 0x4C0EFCD1A8F45543 // 2
    assert generator(7, "structure", 12, 3).initial_seed() == 0x41C98232896C6F42 // 2
