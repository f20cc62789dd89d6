"""What helps on a CPU: every setting is compared, on both networks."""

import pytest

from tests.benchmarks.scripts import SMALL, Run


@pytest.mark.slow
def test_cpu(run_benchmark: Run) -> None:
    (rows,) = run_benchmark("cpu", *SMALL, "--turns", "6", "--eager", "--cores", "1")
    steps = [row["step"] for row in rows if row["clock"] == "wall" and row["network"] == "the digits network"]
    assert steps == [
        "contiguous / channels last",
        "fused / foreach SGD",
        "the product's step / by hand",
        "all cores / --threads",
        "bf16 / fp32",
    ]
    assert len(rows) == 4 * len(steps)
