"""Damaged, foreign and unfinished folders are left out and named; they never stop a table."""

import json
import math

import pytest
import yaml

from analysis.load import load_metrics, load_runs
from analysis.row import COLUMNS
from spfde_exp.errors import UserError
from spfde_exp.store import RunFolder


def note_on(frame, name):
    (note,) = [note for note in frame.attrs["notes"] if str(name) in note]
    return note


def counted(frame, paths):
    """How many runs of each cell, by its number, have an accuracy."""
    cells = {path.name: cell for (cell, _), path in paths.items()}
    done = frame[frame["test_acc"].notna()]
    counts = done["signature"].map(cells).value_counts()
    return [int(counts.get(cell, 0)) for cell in sorted(set(cells.values()))]


def edit(path, name, **values):
    """Change keys of a JSON file of a run."""
    folder = RunFolder(path)
    folder.write_json(name, {**(folder.json(name) or {}), **values})


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


def test_a_row_says_where_it_was_trained(tmp_path, plant):
    """And not where its configuration asked for it."""
    path = plant("A8", "recipe=digits", "device=auto", "threads=auto", cells=[3], seeds=(1,))[3, 1]
    where = {"device": "cuda:1", "device_name": "H100", "host": "node7", "threads": 4, "runs_per_device": 2}
    edit(path, "meta", **where, started=1000.0, finished=1060.5, data_checksum="abc")
    (row,) = load_runs([tmp_path / "runs"]).to_dict("records")
    assert {key: row[key] for key in where} == where
    assert (row["started"], row["finished"], row["data_checksum"]) == (1000.0, 1060.5, "abc")
    assert row["dirty"] is False


def test_a_meta_of_the_first_version_is_one_run_per_device(tmp_path, plant):
    plant("A8", "recipe=digits", cells=[3], seeds=(1,))
    (row,) = load_runs([tmp_path / "runs"]).to_dict("records")
    assert row["runs_per_device"] == 1 and math.isnan(row["finished"])


def test_runs_that_differ_in_the_seed_only_share_a_cell(tmp_path, plant):
    plant("A10", "recipe=digits", cells=[0, 1])
    frame = load_runs([tmp_path / "runs"])
    assert sorted(frame.groupby("cell").size()) == [3, 3]


def test_no_folder_and_no_runs(tmp_path):
    with pytest.raises(UserError, match="nowhere is no folder"):
        load_runs([tmp_path / "nowhere"])
    empty = load_runs([tmp_path])
    assert len(empty) == 0 and list(empty) == list(COLUMNS)


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
    assert "3 folders without a whole config.yaml" in note_on(frame, "holiday")
    assert note_on(frame, "holiday") == note_on(frame, paths[0, 0]) == note_on(frame, paths[0, 1])
    assert "schema version 999" in note_on(frame, paths[0, 2])
    assert "no resolved one" in note_on(frame, paths[1, 0])
    assert "2 runs without a whole summary.json" in note_on(frame, paths[1, 1])
    assert note_on(frame, paths[1, 1]) == note_on(frame, paths[1, 2])
    assert counted(frame, paths) == [0, 0, 3, 3, 3, 3]
    assert all(note.startswith("left out: ") for note in frame.attrs["notes"])


def test_a_damaged_run_with_a_copy_is_told_how_to_rescue_it(tmp_path, plant):
    paths = plant("A10", "recipe=digits", cells=[0])
    for seed, name in enumerate(["config.yaml", "summary.json"]):
        copy = paths[0, seed] / "wandb" / "offline-run-20261121_100000-abc" / "run-abc.wandb"
        copy.parent.mkdir(parents=True)
        copy.write_bytes(b"")
        (paths[0, seed] / name).write_bytes(b"")
    frame = load_runs([tmp_path / "runs"])
    assert all(f"{paths[0, seed]} (--wandb-dir" in note_on(frame, paths[0, seed]) for seed in range(2))


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
    frame = load_runs([tmp_path / "runs"])
    assert counted(frame, paths) == [3, 3, 0, 3, 3, 3]
    note = note_on(frame, paths[2, 0])
    assert "3 runs with an accuracy that is no number; train again with force=true" in note
    assert all(f"{paths[2, seed]} ({value})" in note for seed in range(3))


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
    assert counted(frame, paths) == [0, 0, 0, 3, 3, 3]


def test_a_run_that_waits_for_its_turn_has_no_settings_yet(tmp_path, living_sweep):
    """A sweep that has submitted it leaves a status only."""
    folder = RunFolder(tmp_path / "runs" / "0123456789abcdef")
    folder.path.mkdir(parents=True)
    folder.set_status("pending", sweep=living_sweep(tmp_path / "runs"))
    frame = load_runs([tmp_path / "runs"])
    assert len(frame) == 0 and "1 run pending" in note_on(frame, folder.path)


def test_of_many_runs_a_note_names_some(tmp_path, plant):
    paths = plant("A10", "recipe=digits")
    for path in paths.values():
        (path / "summary.json").write_text("{")
    (note,) = load_runs([tmp_path / "runs"]).attrs["notes"]
    assert note.startswith("left out: 18 runs without a whole summary.json: ") and note.endswith(" and 13 more")


@pytest.mark.parametrize("name", ["config.yaml", "meta.json", "status.json", "summary.json", "metrics.jsonl"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 50, b"[1, 2]", b"null", b'"text"', b"{}", b'{"git": 3, "state": []}']
)
def test_no_content_of_a_file_is_fatal(tmp_path, plant, name, content):
    paths = plant("A10", "recipe=digits", cells=[0])
    (paths[0, 1] / name).write_bytes(content)
    assert counted(load_runs([tmp_path / "runs"]), paths)[0] >= 2


def test_a_status_that_makes_no_sense_is_not_fatal(tmp_path, plant):
    path = plant("A10", "recipe=digits", cells=[0], seeds=(0,))[0, 0]
    (path / "summary.json").unlink()
    edit(path, "status", state="running", host="another", heartbeat="yesterday")
    frame = load_runs([tmp_path / "runs"])
    assert len(frame) == 0 and "1 folder not readable" in note_on(frame, path)


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


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_of_two_results_of_a_run_the_last_one_counts(tmp_path, plant, order):
    """Its code was changed in between; the note names both commits."""
    for day, (name, commit) in enumerate([("old", "aaaa111"), ("new", "bbbb222")]):
        path = plant("A10", "recipe=digits", runs=tmp_path / name, cells=[0], seeds=(0,))[0, 0]
        edit(path, "meta", git={"commit": commit, "dirty": False}, finished=1.8e9 + 86400 * day)
        edit(path, "summary", test_acc=50.0 + day)
    frame = load_runs([tmp_path / name for name in order])
    assert frame["test_acc"].tolist() == [51.0] and frame["commit"].tolist() == ["bbbb222"]
    (note,) = frame.attrs["notes"]
    kept, dropped = (tmp_path / name / path.name for name in ("new", "old"))
    assert f"what finished last is used: {kept} (51.00 % by commit bbbb222" in note
    assert "not 50.00 % by commit aaaa111" in note and f" of {dropped})" in note


def test_the_same_result_of_other_code_is_named(tmp_path, plant):
    for name, commit in [("one", "aaaa111"), ("two", "bbbb222")]:
        path = plant("A10", "recipe=digits", runs=tmp_path / name, cells=[0], seeds=(0,))[0, 0]
        edit(path, "meta", git={"commit": commit})
    frame = load_runs([tmp_path / "one", tmp_path / "two"])
    assert frame["commit"].tolist() == ["aaaa111"]
    assert "aaaa111" in frame.attrs["notes"][0] and "bbbb222" in frame.attrs["notes"][0]


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


def test_metrics_have_a_row_per_epoch_without_a_torn_one(tmp_path, plant):
    path = plant("A10", "recipe=digits", cells=[0], seeds=(0,))[0, 0]
    rows = [{"epoch": epoch, "epoch_time_s": 0.5 + epoch, "memory_peak_bytes": None} for epoch in range(4)]
    (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows))[:-3])
    frame = load_metrics(path)
    assert frame.index.tolist() == [1, 2, 3] and frame["epoch_time_s"].tolist() == [0.5, 1.5, 2.5]
    (path / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="has no epochs"):
        load_metrics(path)


def test_a_link_to_itself_is_no_run(tmp_path, plant):
    plant("A10", cells=[0], seeds=(0,))
    (tmp_path / "runs" / "loop").symlink_to("loop")
    assert len(load_runs([tmp_path / "runs"])) == 1


@pytest.mark.parametrize("summary", [None, '{"test_acc": 9'])
def test_a_copy_without_a_whole_summary_is_torn(tmp_path, plant, summary):
    """Copies of finished runs come without status.json; meta.json says that they were finished."""
    (path,) = plant("A10", cells=[0], seeds=(0,)).values()
    (path / "status.json").unlink()
    (path / "summary.json").unlink()
    if summary is not None:
        (path / "summary.json").write_text(summary)
    else:
        meta = json.loads((path / "meta.json").read_text())
        (path / "meta.json").write_text(json.dumps({**meta, "finished": 1795255690.7}))
    frame = load_runs([tmp_path / "runs"])
    assert frame["state"].tolist() == ["torn"] and "without a whole summary.json" in frame.attrs["notes"][0]
