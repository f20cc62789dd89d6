"""The status command: a table, JSON, and a look that goes on until all runs have ended."""

import json
import signal
import subprocess
import sys
import time

import pytest

from spfde_exp.progress import Reader
from spfde_exp.selection import Filters
from spfde_exp.status import look, show, total, watch

KEYS = """
    signature state settings epoch epochs test_acc attempt host pid heartbeat error
    failure epoch_time_s pace_s time_left_s sweep sweep_files slurm_job
"""


@pytest.fixture
def runs(make_run, tmp_path):
    make_run("aaaa", "done", settings="method=dense seed=0 runs_dir=out +sweep=[digits]")
    make_run("bbbb", "failed", rows=1, error="the loss became nan", failure="nan_loss", slurm_job="7_1", sweep="s-1")
    make_run("cccc", "pending", rows=0)
    (tmp_path / "foreign").mkdir()
    return tmp_path


def found(runs):
    return look(runs, Filters(), Reader())


def test_json_tells_state_progress_and_error(runs, capsys):
    show(found(runs), as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert [(run["signature"], run["state"], run["epoch"], run["test_acc"]) for run in printed] == [
        ("aaaa", "done", 3, 52.0),
        ("bbbb", "failed", 1, 50.0),
        ("cccc", "pending", 0, None),
    ]
    assert sorted(printed[0]) == sorted(KEYS.split())
    failed = printed[1]
    assert (failed["error"], failed["failure"]) == ("the loss became nan", "nan_loss")
    assert (failed["slurm_job"], failed["sweep"], failed["pace_s"]) == ("7_1", "s-1", 2.5)


def test_table_counts_what_is_done_and_names_failures_with_their_class(runs, capsys):
    show(found(runs), as_json=False)
    out = capsys.readouterr().out
    assert "1 of 3 runs done, 1 failed, 1 pending" in out
    assert "3/4" in out
    assert "nan_loss: the loss became nan" in out
    assert "runs_dir" not in out


def test_settings_in_brackets_are_no_markup(make_run, tmp_path, capsys):
    make_run("aaaa", settings="dst.milestones=[a]")
    show(found(tmp_path), as_json=False)
    assert "dst.milestones=[a]" in capsys.readouterr().out


def test_a_running_run_tells_its_speed_and_the_time_left(make_run, tmp_path, capsys):
    with make_run("aaaa", "pending", rows=2, config={"epochs": 10}).owned():
        show(found(tmp_path), as_json=False)
    row = next(line for line in capsys.readouterr().out.splitlines() if "aaaa" in line)
    assert [cell.strip() for cell in row.split("│")[3:-2]] == ["running", "2/10", "51.00 %", "2.5", "20.0 s"]


def test_what_waits_is_taken_to_need_what_the_others_need(make_run, tmp_path):
    make_run("aaaa", "done", config={"epochs": 3})  # 7.5 s
    for name in ("bbbb", "cccc"):
        make_run(name, "pending", rows=0, config={"epochs": 3})
    with make_run("dddd", "pending", rows=1, config={"epochs": 3}).owned():  # 5 s left
        assert total(found(tmp_path)).time_left_s == pytest.approx(5 + 2 * 7.5)


def test_without_a_terminal_watching_prints_a_line_per_change_until_all_have_ended(make_run, tmp_path):
    make_run("aaaa")
    folder = make_run("bbbb", "pending", rows=0)
    code = "import sys; from spfde_exp.status import *; watch(Path(sys.argv[1]), Filters(), False, 0.05)"
    with folder.owned():
        command = [sys.executable, "-c", code, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(2)]
        time.sleep(0.3)
        folder.write_json("summary", {"test_acc": 50.0})
    rest = process.communicate(timeout=60)[0].splitlines()
    assert [line.split()[:2] for line in first] == [["aaaa", "done"], ["bbbb", "running"]]
    assert [line.split()[:2] for line in rest[:1]] == [["bbbb", "done"]]
    assert rest[1:] == ["2 of 2 runs done"]


def test_whoever_has_seen_enough_leaves_without_a_word(make_run, tmp_path):
    with make_run("aaaa", "pending").owned():
        command = [sys.executable, "-m", "spfde_exp.status", "--watch", "--runs", str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("aaaa  running")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 130


def test_watching_in_json_prints_an_object_per_change(runs, make_run, capsys):
    watch(runs, Filters(states=("done", "failed")), as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [run["signature"] for run in lines] == ["aaaa", "bbbb"]


def test_watching_on_a_terminal_shows_a_table(runs, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    watch(runs, Filters(states=("done", "failed")), as_json=False)
    out = capsys.readouterr().out
    assert "1 of 2 runs done, 1 failed" in out
    assert "nan_loss" in out


def test_of_a_thousand_ended_runs_none_is_read_twice(make_run, opened, tmp_path):
    folder = make_run("0000")
    for number in range(1, 1000):
        (tmp_path / f"{number:04x}").symlink_to(folder.path)
    reader = Reader()
    with opened() as first:
        assert len(look(tmp_path, Filters(), reader)) == 1000
    with opened() as again:
        assert len(look(tmp_path, Filters(), reader)) == 1000
    files = {path for path in first if path.endswith((".json", ".jsonl", ".yaml"))}
    assert len(files) == 5 * 1000  # of each the configuration, the meta data, status, metrics and summary
    assert files.isdisjoint(again)


def test_the_command(runs, run_cli):
    done = run_cli("--runs", str(runs / "nowhere"), cwd=runs, module="spfde_exp.status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: --runs")
    done = run_cli("bb", "--runs", ".", "aa", "--state", "failed", "--json", cwd=runs, module="spfde_exp.status")
    assert [run["signature"] for run in json.loads(done.stdout)] == ["bbbb"]
    done = run_cli("--runs", ".", "--state", "new", cwd=runs, module="spfde_exp.status")
    assert done.stdout == "no run in . passes these filters\n"
