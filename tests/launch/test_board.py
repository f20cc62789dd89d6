"""The table of runs at work: what it adds up, and that it fits the terminal."""

import io

import pytest
from rich.console import Console

from spfde_exp.launch.board import Total, board, combined_pace, sweep_left, telling
from spfde_exp.progress import Reader


@pytest.fixture
def run(make_run):
    folder = make_run("0123456789abcdef", "failed", error="the loss became nan", failure="nan_loss")
    return Reader().read(folder)


def printed(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("height", [9, 24, 60])
@pytest.mark.parametrize("runs", [1, 5, 1000])
def test_it_fits_the_terminal_however_many_runs_there_are(run, width, height, runs):
    total = Total({"failed": runs}, runs, 3 * runs, 4 * runs, 2.5, 100.0)
    lines = printed(board([(run, "seed=0 " * 20)] * runs, total, height), width)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    shown = sum("01234567" in line for line in lines)
    assert shown >= 1
    missing = [line for line in lines if "not shown" in line]
    assert missing == [] if shown == runs else missing[0].split()[0] == str(runs - shown)


def test_it_has_a_row_for_the_sweep_and_names_the_class_of_a_failure(run):
    total = Total({"done": 2, "failed": 1, "pending": 0}, 3, 9, 12, 0.25, 90.0)
    lines = printed(board([(run, "seed=0")], total, 24), 100)
    assert lines[0].strip() == "2 of 3 runs done, 1 failed"
    row = next(line.split() for line in lines if "01234567" in line)
    assert row == ["01234567", "nan_loss:", "seed=0", "failed", "3/4", "52.00", "%", "2.5"]
    assert next(line.split() for line in lines if "all" in line) == ["all", "9/12", "0.25", "1.5", "min"]


@pytest.mark.parametrize(
    ("running", "waiting", "slots", "left"),
    [
        ([10.0, 4.0], [], 2, 10.0),
        ([10.0, 4.0], [3.0, 3.0], 2, 10.0),
        ([10.0, 4.0], [3.0, 3.0, 3.0], 2, 13.0),
        ([], [5.0, 5.0, 5.0], 2, 10.0),
        ([1.0], [5.0], 4, 5.0),
        ([], [], 1, 0.0),
        ([None], [], 1, None),
        ([1.0], [None], 1, None),
    ],
)
def test_a_sweep_ends_when_its_last_run_does(running, waiting, slots, left):
    assert sweep_left(running, waiting, slots) == left


def test_epochs_of_runs_side_by_side_come_as_often_as_their_rates_add_up():
    assert combined_pace([2.0, 2.0, None]) == 1.0
    assert combined_pace([None]) is None


def test_only_the_words_that_tell_runs_apart_are_kept():
    labels = {"a": "method=mest seed=0 sparsity=0.9", "b": "method=mest seed=1 sparsity=0.9"}
    assert telling(labels) == {"a": "seed=0", "b": "seed=1"}
    assert telling({"a": "method=mest seed=0"}) == {"a": "method=mest seed=0"}
