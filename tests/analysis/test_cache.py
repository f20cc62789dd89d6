"""The cache saves reading, and nothing else: whatever happens to folders or to itself, the table is the same."""

import json
import math
import os
import subprocess

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import cache, load
from analysis.cache import NAME
from analysis.folders import FILES
from analysis.load import load_runs
from analysis.row import Row
from spfde_exp.store import RunFolder


@pytest.fixture
def read(monkeypatch):
    """Names of the run folders whose files were read, since the list was last cleared."""
    names = []

    def counted(path, real=load.read_folder):
        names.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(load, "read_folder", counted)
    return names


@pytest.fixture
def eager(monkeypatch):
    """Also young files and few runs are kept."""
    monkeypatch.setattr(cache, "SETTLED_S", -60)
    monkeypatch.setattr(cache, "WORTH", 1)


@pytest.fixture
def planted(tmp_path, plant, eager):
    """18 runs, read once: most done, others not, or damaged."""
    paths = plant("A10", "recipe=digits")
    (paths[0, 0] / "summary.json").unlink()
    (paths[0, 1] / "config.yaml").unlink()
    RunFolder(paths[0, 2]).write_json("summary", {"test_acc": math.nan, "epochs": 80})
    RunFolder(paths[1, 0]).set_status("failed", error="NanLoss: the loss")
    (paths[1, 0] / "summary.json").unlink()
    (tmp_path / "runs" / "holiday").mkdir()
    load_runs([tmp_path / "runs"])
    assert (tmp_path / "runs" / NAME).exists()
    return paths


def same(frame, other):
    pd.testing.assert_frame_equal(frame, other)
    assert frame.attrs == other.attrs


def test_an_unchanged_folder_is_not_read_again(tmp_path, planted, read):
    again = load_runs([tmp_path / "runs"])
    assert read == []
    (tmp_path / "runs" / NAME).unlink()
    same(again, load_runs([tmp_path / "runs"]))
    assert len(read) == 19


@pytest.mark.parametrize("name", FILES)
def test_a_change_that_hides_is_seen(tmp_path, planted, read, name):
    """As many bytes as before, at the same time as before, by whoever can set that."""
    file = planted[3, 1] / name
    stat, content = file.stat(), file.read_bytes()
    file.write_bytes(content.replace(b"1", b"2", 1))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    load_runs([tmp_path / "runs"])
    assert read == [planted[3, 1].name]


def test_a_changed_run_has_its_new_values(tmp_path, planted, read):
    folder = RunFolder(planted[3, 1])
    folder.write_json("summary", {**(folder.summary() or {}), "test_acc": 12.5})
    (planted[4, 0] / "meta.json").unlink()
    frame = load_runs([tmp_path / "runs"]).set_index("signature")
    assert frame.loc[planted[3, 1].name, "test_acc"] == 12.5
    assert pd.isna(frame.loc[planted[4, 0].name, "commit"])
    assert sorted(read) == sorted([planted[3, 1].name, planted[4, 0].name])


def test_runs_come_and_go(tmp_path, planted, plant, read):
    planted[3, 1].rename(tmp_path / "elsewhere")
    new = plant("A10", "recipe=digits", cells=[4], seeds=(3,))[4, 3]
    frame = load_runs([tmp_path / "runs"])
    assert read == [new.name] and planted[3, 1].name not in set(frame["signature"])
    assert planted[3, 1].name not in (tmp_path / "runs" / NAME).read_text()


def test_a_moved_runs_dir_takes_its_cache_along(tmp_path, planted, read):
    (tmp_path / "runs").rename(tmp_path / "archive")
    frame = load_runs([tmp_path / "archive"])
    assert read == []
    assert set(frame["path"]) == {str(tmp_path / "archive" / name) for name in frame["signature"]}
    assert not any(str(tmp_path / "runs") in note for note in frame.attrs["notes"])


def test_a_copy_is_read(tmp_path, planted, read):
    subprocess.run(["cp", "-a", tmp_path / "runs", tmp_path / "copy"], check=True)
    assert len(load_runs([tmp_path / "copy"])) == 17
    assert len(read) == 18  # all but the folder without any file


def test_what_is_not_done_is_looked_at_each_time(tmp_path, plant, eager, read, living_sweep, monkeypatch):
    """Its files say that it waits for a sweep; whether that lives is not in them."""
    path = plant("A10", "recipe=digits", cells=[0], seeds=(0,))[0, 0]
    (path / "summary.json").unlink()
    RunFolder(path).set_status("pending", sweep=living_sweep(tmp_path / "runs"))
    assert load_runs([tmp_path / "runs"])["state"].tolist() == ["pending"]
    monkeypatch.setattr("spfde_exp.store.is_locked", lambda lock: False)
    assert load_runs([tmp_path / "runs"])["state"].tolist() == ["stale"]
    assert len(read) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x80\x04\x95", b"[]", b"{}", b'{"reader": "READER"}', b'{"reader": "READER", "stamps": 3}',
        b'{"reader": "READER", "stamps": {"a": []}, "columns": {"seed": [[1], [7]]}, "left_out": [], "told": {}}',
        b'{"reader": "READER", "stamps": {"a": []}, "columns": {"seed": [[1], [0]]}, "left_out": [], "told": {}}',
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_cache_is_none(tmp_path, planted, read, content):
    expected = load_runs([tmp_path / "runs"])
    (tmp_path / "runs" / NAME).write_bytes(content.replace(b"READER", cache.reader().encode()))
    same(load_runs([tmp_path / "runs"]), expected)
    assert len(read) == 19


def test_a_torn_cache_is_none(tmp_path, planted, read):
    expected, file = load_runs([tmp_path / "runs"]), tmp_path / "runs" / NAME
    file.write_bytes(file.read_bytes()[:-100])
    same(load_runs([tmp_path / "runs"]), expected)
    assert len(read) == 19


def test_other_code_reads_anew(tmp_path, planted, read, monkeypatch):
    monkeypatch.setattr("spfde_exp.config.NEUTRAL", {"precision": "fp32"})
    assert "precision" not in load_runs([tmp_path / "runs"])["identity"].iloc[-1]
    assert len(read) == 19


def test_where_nothing_can_be_written_there_is_no_cache(tmp_path, plant, eager, monkeypatch):
    plant("A10", "recipe=digits")

    def refuse(path, text):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache, "write_atomic", refuse)
    assert len(load_runs([tmp_path / "runs"])) == 18
    assert not (tmp_path / "runs" / NAME).exists()


def test_few_runs_get_no_cache(tmp_path, plant, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED_S", -60)
    plant("A10", "recipe=digits")
    load_runs([tmp_path / "runs"])
    assert not (tmp_path / "runs" / NAME).exists()


def test_young_files_are_read_again(tmp_path, plant, read, monkeypatch):
    """A second change within one tick of the file system's clock would not show."""
    monkeypatch.setattr(cache, "WORTH", 1)
    plant("A10", "recipe=digits")
    load_runs([tmp_path / "runs"])
    load_runs([tmp_path / "runs"])
    assert len(read) == 36


def test_one_value_that_json_has_not_costs_one_row(tmp_path, planted, read):
    config = planted[5, 0] / "config.yaml"
    config.write_text(config.read_text().replace("tags: []", "tags: [2026-11-21]"))
    for _ in range(2):
        load_runs([tmp_path / "runs"])
    assert read == [planted[5, 0].name] * 2


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.integers()),
    st.sampled_from([1, 1.0, True, 0, 0.0, False, "1"]),
)  # fmt: skip
rows = st.dictionaries(st.sampled_from(["epochs", "optim.lr", "name", "flag", "told"]), values)


@given(st.lists(st.one_of(st.none(), rows)))
def test_rows_come_back_as_they_were(tmp_path_factory, planned):
    made = {}
    for number, planned_values in enumerate(planned):
        if planned_values:
            who = {key: planned_values[key] for key in sorted(planned_values) if key != "told"}
            planned_values = {**planned_values, "cell": f"cell {number}", "identity": who}
        made[f"run{number}"] = ([number] * 20, Row(planned_values, [("metrics", "3 of 4")] if number % 2 else []))
    content = json.loads(json.dumps(cache._encoded(made)))
    back = cache._decoded(content)
    assert list(back) == list(made)
    for name, (stamp, row) in made.items():
        assert back[name][0] == stamp and back[name][1].told == row.told
        assert text(back[name][1].values) == text(row.values)


def text(values):
    """As text, 1 is neither 1.0 nor True; the order of keys means nothing."""
    return repr(values and sorted((key, text(v) if isinstance(v, dict) else v) for key, v in values.items()))
