"""Figure 4 measured: every depth is predicted, and the counted columns are the papers'."""

from spfde_exp.config import compose
from spfde_exp.plan import make_plan
from tests.benchmarks.scripts import Run

SIZE = ("--model", "resnet14", "--width", "1", "--batch", "8")  # a narrower one cannot hold 95 % exactly


def test_memory(run_benchmark: Run) -> None:
    depths, runs = run_benchmark("memory", *SIZE)
    assert [row["frozen"] for row in depths] == ["dense", *map(str, range(7))]
    assert [row["target"] for row in depths] == ["off by <= 0.15: met"] * 8
    measured = [float(row["measured, MB"]) for row in depths[1:]]
    assert measured[0] > 2.5 * measured[4]
    assert depths[0]["engine, MB"] == "none"  # nothing is masked
    engine = [float(row["engine, MB"]) for row in depths[1:]]
    assert engine[0] > 2.5 * engine[4]

    assert len(runs) == 12  # three sparsities, a fixed mask and three targets of freezing
    row = runs[1]
    assert row["run"] == "method=mest_ems sparsity=0.9 freeze=0.15"
    settings = ["recipe=cifar100", "sparsity=0.9", "freeze=0.15", "model=resnet14", "model.width=1"]
    counted = make_plan(compose([*settings, "optim.batch_size=8"])).prediction()
    assert row["counted, avg."] == f"{counted['memory_avg_bytes'] / 1e6:.1f}"
    assert row["counted, min."] == f"{counted['memory_min_bytes'] / 1e6:.1f}"
    # Masks are simulated: sparsity saves nothing that is measured.
    assert len({row["measured, avg."] for row in runs if row["run"].endswith("freeze=0.25")}) == 1
    assert all(float(row["measured, min."]) <= float(row["measured, avg."]) for row in runs)
