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
    assert {row["sparse layers"] for row in rows} == {"15"}  # all of resnet14, two of shortcuts with it


def test_auto_is_held_against_dense(run_benchmark: Run) -> None:
    options = ("--sparsity", "0.5", "--method", "mest_ems", "--auto", "--turns", "6", "--steps", "1")
    (rows,) = run_benchmark("engine", *SMALL, *options)
    auto = [row for row in rows if row["of / to"] == "dense / auto"]
    assert [row["target"].split(":")[0] for row in auto] == [">= 0.98"] * 2
    assert {int(row["sparse layers"]) for row in rows if row not in auto} == {15}
    assert all(0 <= int(row["sparse layers"]) <= 15 for row in auto)
