"""The folder of a report is replaced as a whole, or stays as it was; what is no report is never touched."""

import os
from pathlib import Path

import pytest

from analysis.__main__ import run
from analysis.report import folder as module
from analysis.report.folder import MARKER, check, replaced
from spfde_exp.errors import UserError


def write(out, text="new", name="index.html"):
    with replaced(out) as folder:
        (folder / name).write_text(text)


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != MARKER}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "report"


def test_a_new_folder_and_an_empty_one_are_taken(out):
    write(out)
    assert content(out) == {"index.html": "new"} and [path.name for path in out.parent.iterdir()] == ["report"]
    empty = out.with_name("empty")
    empty.mkdir()
    write(empty)
    assert content(empty) == {"index.html": "new"} and empty.stat().st_mode & 0o777 == 0o755


def test_a_report_is_replaced_with_all_its_files(out):
    write(out, name="A1.html")
    write(out, name="index.html")
    assert content(out) == {"index.html": "new"} and [path.name for path in out.parent.iterdir()] == ["report"]


def test_after_a_failure_midway_the_old_report_is_there_and_nothing_else(out):
    write(out, "old")
    with pytest.raises(KeyboardInterrupt), replaced(out) as folder:
        (folder / "index.html").write_text("half")
        assert content(out) == {"index.html": "old"}
        raise KeyboardInterrupt
    assert content(out) == {"index.html": "old"} and [path.name for path in out.parent.iterdir()] == ["report"]


def test_after_a_failure_in_the_last_step_the_old_report_is_there(out, monkeypatch):
    write(out, "old")
    rename = Path.rename

    def fail(self, target):
        if not self.name.endswith(".old") and Path(target).name == "report":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError):
        write(out)
    assert content(out) == {"index.html": "old"} and [path.name for path in out.parent.iterdir()] == ["report"]


def refused(out, message):
    with pytest.raises(UserError, match=message):
        check(out)
    before = content(out) if out.is_dir() else None
    with pytest.raises(UserError, match=message):
        write(out)
    assert before == (content(out) if out.is_dir() else None)


def test_what_is_no_report_is_refused(out):
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    refused(out, "is there and is no report of this software; choose another name, or empty it")


def test_hidden_files_are_files(out):
    out.mkdir()
    (out / ".htaccess").write_text("deny")
    refused(out, "is there and is no report of this software")


@pytest.mark.parametrize("marker", ["", "{", "[1]", '{"files": 3}', "{}"])
def test_a_damaged_marker_is_none(out, marker):
    write(out)
    (out / MARKER).write_text(marker)
    refused(out, "no report of this software")


def test_files_that_were_put_into_a_report_are_safe(out):
    write(out)
    (out / "notes.txt").write_text("mine")
    refused(out, "has files that are not the report's: notes.txt; move them away")


def test_files_that_come_while_the_report_is_made_are_safe(out):
    write(out, "old")
    with pytest.raises(UserError, match=r"notes\.txt"), replaced(out) as folder:
        (folder / "index.html").write_text("new")
        (out / "notes.txt").write_text("mine")
    assert content(out) == {"index.html": "old", "notes.txt": "mine"}


def test_a_file_and_a_missing_parent_are_refused(out):
    out.write_text("")
    refused(out, "is a file; name a folder for the report")
    refused(out.with_name("nowhere") / "report", "its folder is not there; make it, or choose another one")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_refused(out):
    out.parent.chmod(0o500)
    try:
        with pytest.raises(UserError, match="nothing can be written beside it"):
            write(out)
    finally:
        out.parent.chmod(0o700)


def test_a_link_to_a_report_stays_one(out):
    write(out, "old")
    link = out.with_name("latest")
    link.symlink_to(out)
    write(link)
    assert link.is_symlink() and content(out) == {"index.html": "new"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "need a folder; name a new one with --out DIR"),
        (["--out", "nowhere/report"], "its folder is not there"),
        (["--out", "report", "--format", "html"], "--format is for a table"),
        (["--out", "report", "--runs", "nowhere"], "nowhere is no folder"),
        (["--out", "mine"], "mine is there and is no report"),
    ],
)
def test_the_command_refuses_in_one_line_and_leaves_nothing(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine/file").write_text("")
    with pytest.raises(UserError, match=message):
        run(["all", *words])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_is_no_report_is_refused_before_the_runs_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.load.load_runs", lambda *_: pytest.fail("read"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is no report"):
        run(["all", "--out", str(tmp_path)])
    assert module.MARKER not in os.listdir(tmp_path)
