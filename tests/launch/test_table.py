"""The closing table of a sweep, and numbers for people."""

import pytest

from spfde_exp.launch.table import closing_row, duration, size


def test_the_closing_row_of_a_failed_run_names_the_class(make_run):
    folder = make_run("aaaa", "failed", failure="nan_loss")
    assert closing_row(folder, "seed=0", RuntimeError("boom")) == ["aaaa", "seed=0", "failed: nan_loss", *[""] * 5]


def test_the_closing_row_of_a_finished_run_has_its_result(make_run):
    folder = make_run("aaaa", failure="crash")  # of an earlier attempt
    numbers = {"train_flops": 2e15, "flops_reduction_total": 0.36, "memory_avg_bytes": 1.6e6, "train_time_s": 90.0}
    folder.write_json("summary", {"test_acc": 93.456, **numbers})
    expected = ["aaaa", "seed=0", "done", "93.46 %", "2e+15", "36.0 %", "1.6 MB", "1.5 min"]
    assert closing_row(folder, "seed=0", 93.456) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5.0 s"), (90, "1.5 min"), (7200, "2.0 h"), (72 * 3600, "3.0 days")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(12, "12 B"), (1600, "1.6 KB"), (2.5e9, "2.5 GB"), (3e12, "3e+03 GB")])
def test_sizes(count, text):
    assert size(count) == text
