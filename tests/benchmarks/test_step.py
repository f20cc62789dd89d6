"""What masks and sieving add to a step: which ratios are held to what."""

from tests.benchmarks.scripts import SMALL, Run


def test_step(run_benchmark: Run) -> None:
    (rows,) = run_benchmark("step", *SMALL, "--pairs", "6")
    wall = {row["ratio"]: row["target"].split(":")[0] for row in rows if row["clock"] == "wall"}
    assert wall == {
        "masked / bare": "<= 1.03",
        "sieve / bare": "<= 1.035",
        "sieve / masked": "<= 1.01",
        "masked / bare, exact": "without what determinism costs",
    }
    assert len(rows) == 2 * len(wall)
