"""The status table."""

import json

import pytest

from spfde_exp.errors import UserError
from spfde_exp.status import find_runs, show
from spfde_exp.store import RunFolder


@pytest.fixture
def runs(tmp_path):
    for name, state, rows in (("aaaa", "done", 3), ("bbbb", "failed", 1), ("cccc", "pending", 0)):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        folder.write_config({"epochs": 3})
        folder.write_json("meta", {"overrides": [f"seed={rows}"]})
        for epoch in range(rows):
            folder.append_metrics({"epoch": epoch, "test_acc": 50.0 + epoch})
        folder.set_status(state, error="out of paper" if state == "failed" else None)
    RunFolder(tmp_path / "aaaa").write_json("summary", {"test_acc": 52.0})
    (tmp_path / "foreign").mkdir()
    return tmp_path


def test_json_tells_state_progress_and_error(runs, capsys):
    show(runs, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [(run["signature"], run["state"], run["epoch"], run["test_acc"]) for run in found] == [
        ("aaaa", "done", 3, 52.0),
        ("bbbb", "failed", 1, 50.0),
        ("cccc", "pending", 0, None),
    ]
    assert found[1]["error"] == "out of paper"


def test_table_counts_what_is_done(runs, capsys):
    show(runs, as_json=False)
    out = capsys.readouterr().out
    assert "1 of 3 runs done" in out
    assert "3/3" in out
    assert "out of paper" in out


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        find_runs(tmp_path / "absent")


def test_the_command(runs, run_cli):
    done = run_cli("--runs", str(runs / "nowhere"), cwd=runs, module="spfde_exp.status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: --runs")
