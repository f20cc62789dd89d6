"""Damaged, foreign and unfinished folders are left out and named; they never stop a table."""

import math

import pytest
import yaml

from analysis.build import build
from analysis.load import load_runs
from analysis.tables import find_table
from spfde_exp.errors import UserError
from spfde_exp.store import RunFolder


def note_on(frame, name):
    return next(note for note in frame.attrs["notes"] if str(name) in note)


def test_a_row_has_configuration_summary_and_origin(tmp_path, plant):
    path = plant("A8", "recipe=digits", cells=[3], seeds=(1,))[3, 1]
    frame = load_runs([tmp_path / "runs"])
    (row,) = frame.to_dict("records")
    assert row["signature"] == path.name and row["path"] == str(path)
    assert (row["state"], row["commit"], row["seed"]) == ("done", "0123abc", 1)
    assert (row["freeze.target"], row["optim.lr"], row["model.name"]) == (0.2, 0.1, "resnet14")
    assert row["flops_reduction_freeze"] == pytest.approx(0.201)
    assert row["test_acc"] == pytest.approx(50 + 4.5 + 0.1)
    assert frame.attrs["notes"] == []


def test_runs_that_differ_in_the_seed_only_share_a_cell(tmp_path, plant):
    plant("A10", "recipe=digits", cells=[0, 1])
    frame = load_runs([tmp_path / "runs"])
    assert sorted(frame.groupby("cell").size()) == [3, 3]


def test_no_folder_and_no_runs(tmp_path):
    with pytest.raises(UserError, match="nowhere is no folder"):
        load_runs([tmp_path / "nowhere"])
    assert len(load_runs([tmp_path])) == 0


def test_foreign_and_torn_folders(tmp_path, plant):
    paths = plant("A10", "recipe=digits")
    runs = tmp_path / "runs"
    (runs / "holiday").mkdir()
    (runs / "holiday" / "photo.txt").write_text("sea")
    (runs / "notes.txt").write_text("a file is no run")
    paths[0, 0].joinpath("config.yaml").write_text("model: {name: [")
    paths[0, 1].joinpath("config.yaml").write_bytes(b"\xff\xfe\x00")
    newer = paths[0, 2] / "config.yaml"
    newer.write_text(newer.read_text().replace("schema_version: 1", "schema_version: 999"))
    other = paths[1, 0] / "config.yaml"
    other.write_text("schema_version: 1\nmodel: resnet\n")
    summary = paths[1, 1] / "summary.json"
    summary.write_text(summary.read_text()[:40])
    paths[1, 2].joinpath("summary.json").unlink()
    frame = load_runs([runs])
    assert len(frame) == 18 - 4
    assert "no whole config.yaml" in note_on(frame, "holiday")
    assert "no whole config.yaml" in note_on(frame, paths[0, 0])
    assert "no whole config.yaml" in note_on(frame, paths[0, 1])
    assert "schema version 999" in note_on(frame, paths[0, 2])
    assert "no resolved configuration" in note_on(frame, paths[1, 0])
    assert "2 runs without a whole summary.json" in note_on(frame, paths[1, 1])
    assert note_on(frame, paths[1, 1]) == note_on(frame, paths[1, 2])
    table = build(find_table("A10"), [runs])
    cells = [cell for _, row in table.rows[1::2] for cell in row]
    assert [cell.n for cell in cells] == [0, 0, 3, 3, 3, 3]
    assert set(frame.attrs["notes"]) <= set(table.notes)


def test_a_torn_last_line_of_metrics_is_named_and_the_summary_used(tmp_path, plant):
    path = plant("A10", "recipe=digits", cells=[0], seeds=(0,))[0, 0]
    metrics = path / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-5])
    frame = load_runs([tmp_path / "runs"])
    assert "79 of 80 epochs" in note_on(frame, path)
    assert frame["test_acc"].tolist() == [50.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "high"])
def test_an_accuracy_that_is_no_number(tmp_path, plant, value):
    paths = plant("A10", "recipe=digits")
    bad = plant("A10", "recipe=digits", runs=tmp_path / "bad", cells=[2], value=lambda cell, seed: value)
    for key, path in bad.items():
        paths[key].joinpath("summary.json").write_text(path.joinpath("summary.json").read_text())
    table = build(find_table("A10"), [tmp_path / "runs"])
    assert [cell.n for _, row in table.rows[1::2] for cell in row] == [3, 3, 0, 3, 3, 3]
    assert sum("force=true" in note and str(paths[2, 0].parent) in note for note in table.notes) == 3


def test_runs_that_are_not_done(tmp_path, plant, living_sweep):
    paths = plant("A10", "recipe=digits")
    for (cell, seed), path in paths.items():
        if cell < 3:
            (path / "summary.json").unlink()
            state = ("failed", "pending", "running")[cell]
            sweep = living_sweep(tmp_path / "runs")
            error = f"UserError: loss of {seed}" if cell == 0 else None
            RunFolder(path).set_status(state, error=error, sweep=sweep)
    frame = load_runs([tmp_path / "runs"])
    assert sorted(frame["state"].unique()) == ["done", "failed", "pending", "stale"]  # no one holds its lock
    failed = note_on(frame, paths[0, 1])
    assert "3 runs failed" in failed and "UserError: loss of 1" in failed
    assert "3 runs pending" in note_on(frame, paths[1, 0])
    assert "3 runs stale" in note_on(frame, paths[2, 0])
    table = build(find_table("A10"), [tmp_path / "runs"])
    assert [cell.n for _, row in table.rows[1::2] for cell in row] == [0, 0, 0, 3, 3, 3]


def test_a_run_found_twice_counts_once(tmp_path, plant):
    one, two = tmp_path / "one", tmp_path / "two"
    plant("A10", "recipe=digits", runs=one)
    paths = plant("A10", "recipe=digits", runs=two)
    assert load_runs([one, two]).attrs["notes"] == []
    assert len(load_runs([one, two])) == len(load_runs([one, one])) == 18
    summary = paths[1, 0] / "summary.json"
    summary.write_text(summary.read_text().replace("51.5", "61.5"))
    frame = load_runs([one, two])
    note = note_on(frame, paths[1, 0])
    assert "51.50 %" in note and "61.50 %" in note
    assert frame["test_acc"].max() < 60


def test_a_finished_copy_is_preferred_to_an_unfinished_one(tmp_path, plant):
    paths = plant("A10", "recipe=digits", runs=tmp_path / "one", cells=[0])
    plant("A10", "recipe=digits", runs=tmp_path / "two", cells=[0])
    (paths[0, 0] / "summary.json").unlink()
    frame = load_runs([tmp_path / "one", tmp_path / "two"])
    assert frame["test_acc"].notna().all()


def test_an_older_runs_missing_key_means_its_neutral_value(tmp_path, plant, monkeypatch):
    """A key added later is absent from old folders; at its neutral value it does not separate old and new runs."""
    paths = plant("A10", "recipe=digits", cells=[0])
    monkeypatch.setattr("spfde_exp.config.NEUTRAL", {"precision": "fp32"})
    old = paths[0, 0] / "config.yaml"
    config = yaml.safe_load(old.read_text())
    del config["precision"]
    old.write_text(yaml.safe_dump(config))
    assert load_runs([tmp_path / "runs"])["cell"].nunique() == 1
