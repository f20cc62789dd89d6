"""The table of docs/methods.md: numbers by hand, and the page against the runs that are here."""

from pathlib import Path

import pytest

from analysis.methods import numbers, rows_of, table
from analysis.study import Row

ROOT = Path(__file__).parents[2]


def row(method, accuracies, sparsity="0.9", flops=3.0e10):
    summaries = {
        seed: {"test_acc": accuracy, "train_flops": flops, "train_time_s": 10.0 + seed}
        for seed, accuracy in enumerate(accuracies)
    }
    return Row({"method": method, "sparsity": sparsity}, summaries)


def test_what_a_method_gains_is_paired_over_seeds():
    """Differences 0.5, 1.0, 1.5: mean 1, deviation 0.5, and 4.303 x 0.5 / sqrt(3) = 1.242."""
    static, rigl = row("static", [97.0, 98.0, 99.0]), row("rigl", [97.5, 99.0, 100.5])
    assert numbers(rigl, static) == ["99.00 ± 1.50", "+1.00 ± 1.24", "3.00e+10", "11"]
    assert numbers(static, static)[1] == ""


def test_one_seed_has_a_difference_without_an_interval():
    assert numbers(row("lth", [97.5]), row("static", [97.0, 98.0])) == ["97.50", "+0.50", "3.00e+10", "10"]


def test_settings_that_were_not_run_are_empty():
    lines = table([row("dense", [99.0], "dense"), row("static", [98.0]), row("static", [], "0.95"),
                   row("rigl", []), row("rigl", [97.0], "0.95")])  # fmt: skip
    assert lines[2] == "| `dense` | 99.00 |  | 3.00e+10 | 10 |  |  |  |  |"
    assert lines[4] == "| `rigl` |  |  |  |  | 97.00 |  | 3.00e+10 | 10 |"


@pytest.mark.skipif(not (ROOT / "results").is_dir(), reason="an installed package has no results")
def test_the_page_shows_the_runs_that_are_here():
    page = (ROOT / "docs" / "methods.md").read_text()
    assert "\n".join(table(rows_of(ROOT / "results" / "digits"))) in page
