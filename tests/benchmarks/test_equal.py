"""The folded path against the plain one: told at every depth, and a fault would show."""

import pytest

from tests.benchmarks.scripts import SMALL, Run


def test_equal(run_benchmark: Run) -> None:
    (rows,) = run_benchmark("equal", *SMALL, "--steps", "4", "--before", "1")
    assert [row["frozen"] for row in rows] == ["1 of 6", "2 of 6", "4 of 6", "6 of 6"]
    assert [row["epoch"] for row in rows] == ["60", "65", "75", "85"]
    assert [row["folded"] for row in rows] == ["no", "no", "yes", "yes"]
    assert all((0 < float(row["distance / norm"]) < 1e-5) == (row["folded"] == "yes") for row in rows)
    assert [float(row["distance / norm"]) for row in rows[:2]] == [0, 0]


def test_another_network_is_a_failure(run_benchmark: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch norm left out where it should be folded."""
    import spfde_exp.train.forward as forward

    folded = forward.folded

    def without_bias(*arguments: object) -> object:
        module = folded(*arguments)  # type: ignore[arg-type]
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.zero_()
        return module

    monkeypatch.setattr(forward, "folded", without_bias)
    with pytest.raises(SystemExit, match="the folded path trains another network"):
        run_benchmark("equal", *SMALL, "--steps", "4", "--before", "1")
