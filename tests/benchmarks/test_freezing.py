"""What freezing saves: structure of the tables, parts that make up the whole, memory as predicted."""

import pytest

from tests.benchmarks.scripts import SMALL, Run, median_of


def test_freezing(run_benchmark: Run) -> None:
    seconds, parts, memory = run_benchmark("freezing", *SMALL, "--turns", "6", "--steps", "2")
    assert [row["frozen"] for row in seconds if row["clock"] == "wall"] == ["2 of 6", "4 of 6", "6 of 6"]
    assert [row["target"].split(":")[0] for row in seconds if row["target"]] == ["<= 0.5"] * 2

    assert [row["part"] for row in parts] == [
        "batch: draw, crop, flip", "frozen prefix, forward", "active part, forward", "loss and backward",
        "masks and optimiser", "the rest",
    ]  # fmt: skip
    # Medians of shares need not sum to one, but almost do; and less is left than there was.
    assert sum(median_of(row["share of the epoch [95 %]"]) for row in parts) == pytest.approx(1, abs=0.1)
    assert sum(median_of(row["of the unfrozen epoch [95 %]"]) for row in parts) < 0.9

    assert [row["frozen"] for row in memory] == ["0 of 6", "2 of 6", "4 of 6", "6 of 6"]
    assert [row["target"] for row in memory] == ["off by <= 0.15: met"] * 4
    shares = [float(row["/ unfrozen"]) for row in memory]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
