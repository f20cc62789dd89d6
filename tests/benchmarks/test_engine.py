"""Whole steps by the sparse engine: what is compared."""

from tests.benchmarks.scripts import SMALL, Run


def test_engine(run_benchmark: Run) -> None:
    (rows,) = run_benchmark("engine", *SMALL, "--sparsity", "0.9", "--turns", "6", "--steps", "1")
    assert [(row["of / to"], row["clock"]) for row in rows] == [
        ("bare / sparse", "wall"),
        ("bare / sparse", "CPU time"),
        ("dense / sparse", "wall"),
        ("dense / sparse", "CPU time"),
    ]
    assert {row["target"] for row in rows} == {"none"}
