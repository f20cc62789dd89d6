"""Speed of one convolution: what is timed, and that ratios are taken the right way round."""

import pytest

from analysis import convolution
from analysis.paired import Turns


def test_ratios_are_dense_seconds_over_sparse_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def turns(variants, count, warmup):
        assert next(iter(variants)) == "dense" and count == convolution.TURNS
        seconds = {name: [1.0 if name == "dense" else 0.25] * count for name in variants}
        return Turns(wall={}, cpu=seconds)

    monkeypatch.setattr(convolution, "take_turns", turns)
    timings = convolution.measure((0.5, 0.9))
    assert [(timing.scheme, timing.sparsity) for timing in timings] == [
        ("unstructured", 0.5), ("unstructured", 0.9), ("block", 0.5), ("block", 0.9), ("pattern", 0.9),
        ("channel", 0.5), ("channel", 0.9),
    ]  # fmt: skip
    assert {timing.ratio.median for timing in timings} == {4.0}


def test_only_channel_sparsity_makes_the_layer_faster() -> None:
    """A tenth of the channels is at least half as fast again, and zeros are not."""
    ratios = {timing.scheme: timing.ratio.median for timing in convolution.measure((0.9,), turns=6)}
    assert ratios["channel"] > 1.5
    assert max(ratios[scheme] for scheme in ("unstructured", "block", "pattern")) < 1.5
