"""Growth of the cost: FLOPs beside the time are those of the networks."""

import pytest

from tests.benchmarks.scripts import SMALL, Run


def test_growth(run_benchmark: Run) -> None:
    (rows,) = run_benchmark(
        "growth", *SMALL, "--turns", "6", "--batches", "4,8", "--widths", "0.25,0.5", "--models", "resnet14,resnet20",
        "--epochs", "2,6",
    )  # fmt: skip
    flops = {row["what grows"]: float(row["FLOPs, times"]) for row in rows if row["clock"] == "wall"}
    assert list(flops) == ["batch", "width", "depth", "data, in batches"]
    assert flops["batch"] == 2
    assert flops["data, in batches"] == 3
    # Twice the channels are four times the products, but for the stem's input and the classes.
    assert flops["width"] == pytest.approx(4, rel=0.05)
    # Each of the three stages has 3 blocks in place of 2, of which the first costs about 3/4 of another in the later
    # two stages: (3 + 2 * 2.75) / (2 + 2 * 1.75).
    assert flops["depth"] == pytest.approx(8.5 / 5.5, rel=0.05)
