"""How far a run is: the same as its whole folder tells, from its last bytes."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spfde_exp.progress import Reader, last_rows, sweep_files
from spfde_exp.store import RunFolder


@given(rows=st.integers(0, 60), width=st.integers(0, 3000), cut=st.integers(0, 200), count=st.integers(1, 8))
def test_last_rows_are_those_of_the_whole_file(tmp_path_factory, rows, width, cut, count):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    path = folder.file("metrics.jsonl")
    text = "".join(json.dumps({"epoch": epoch, "more": "x" * width}) + "\n" for epoch in range(rows))
    path.write_text(text[: max(0, len(text) - cut)])
    assert last_rows(path, count) == folder.metrics()[-count:]


def test_last_rows_do_not_read_what_comes_before(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\xff\n" * 10**6 + b"".join(b'{"epoch": %d}\n' % epoch for epoch in range(9000)))
    assert last_rows(path, 2) == [{"epoch": 8998}, {"epoch": 8999}]


def test_no_file_has_no_rows(tmp_path):
    assert last_rows(tmp_path / "metrics.jsonl", 5) == []


def test_speed_is_the_median_of_the_last_five_epochs(make_run):
    folder = make_run("aaaa", "pending", rows=0, config={"epochs": 20})
    for epoch, seconds in enumerate([100.0, 100.0, 1.0, 2.0, 3.0, 4.0, 50.0]):
        folder.append_metrics({"epoch": epoch, "test_acc": 10.0, "epoch_time_s": seconds, "eval_time_s": 0.25})
    with folder.owned():
        run = Reader().read(folder)
    assert (run.state, run.epoch, run.epochs) == ("running", 7, 20)
    assert run.epoch_time_s == pytest.approx(3.0)  # as in metrics.jsonl
    assert run.pace_s == pytest.approx(3.25)
    assert run.time_left_s == pytest.approx(13 * 3.25)


def test_only_a_running_run_has_time_left(make_run):
    assert Reader().read(make_run("aaaa", "failed")).time_left_s is None


def test_trouble_names_the_class_in_one_line(make_run):
    folder = make_run("aaaa", "failed", error="the loss\nbecame nan", failure="nan_loss")
    assert Reader().read(folder).trouble == "nan_loss: the loss became nan"


def test_trouble_does_not_say_its_class_twice(make_run):
    folder = make_run("aaaa", "failed", error="cancelled by `runs cancel`", failure="cancelled")
    assert Reader().read(folder).trouble == "cancelled by `runs cancel`"


def test_settings_are_those_that_tell_runs_apart(make_run):
    folder = make_run("aaaa", settings="seed=7 runs_dir=out +sweep=[A8] hydra.launcher.slots=1")
    assert Reader().read(folder).settings == "seed=7"


def test_what_never_started_has_the_settings_of_its_sweep(make_run, tmp_path):
    folder = make_run("aaaa", "pending", rows=0, sweep="20260101-000000-abc")
    folder.file("meta.json").unlink()
    record = tmp_path / ".sweeps" / "20260101-000000-abc"
    record.mkdir(parents=True)
    (record / "sweep.json").write_text(json.dumps({"runs": {"aaaa": "seed=7"}}))
    assert Reader().read(folder).settings == "seed=7"


def test_a_reader_sees_a_second_attempt(make_run):
    folder, reader = make_run("aaaa", "failed", error="boom"), Reader()
    assert reader.read(folder).trouble == "boom"
    with folder.owned():
        run = reader.read(folder)
        assert (run.state, run.trouble, run.attempt) == ("running", "", 1)
    folder.write_json("summary", {"test_acc": 99.0})
    assert (reader.read(folder).state, reader.read(folder).test_acc) == ("done", 99.0)


def test_what_has_ended_is_not_read_twice(make_run, monkeypatch):
    folder, reader = make_run("aaaa"), Reader()
    before = reader.read(folder)
    monkeypatch.setattr(RunFolder, "state", lambda _: pytest.fail("read again"))
    assert reader.read(folder) is before


def test_a_configuration_of_a_newer_version_is_told_and_hides_nothing_else(make_run):
    folder = make_run("aaaa", "failed", error="boom")
    folder.file("config.yaml").write_text("schema_version: 999\n")
    run = Reader().read(folder)
    assert (run.state, run.epoch, run.epochs) == ("failed", 3, None)
    assert "schema version 999" in run.trouble


@pytest.mark.parametrize(
    ("stored", "ids"),
    [(None, ()), (["A8", "A9"], ("A8", "A9")), ("A8", ("A8",)), ({"id": "A8", "grid": {}, "seeds": [0]}, ("A8",))],
)
def test_sweep_files_of_every_version(stored, ids):
    assert sweep_files({"sweep": stored}) == ids


def test_reading_writes_nothing(make_run):
    folder = make_run("aaaa", "failed")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.path.iterdir())
    os.chmod(folder.path, 0o500)
    try:
        Reader().read(folder)
    finally:
        os.chmod(folder.path, 0o700)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in folder.path.iterdir()) == before
