"""Removing runs: safe by default, and in one step."""

import os

import pytest

from spfde_exp.errors import UserError
from spfde_exp.store import RunFolder
from spfde_exp.verbs import rm
from spfde_exp.verbs.rm import remove


@pytest.fixture
def runs(make_run, tmp_path):
    make_run("aaaa", "done")
    make_run("bbbb", "failed")
    make_run("cccc", "pending")
    make_run("dddd", "new")
    make_run("eeee", "running")  # of a process that is gone: stale
    return tmp_path


def left(runs):
    return sorted(path.name for path in runs.iterdir() if path.name != ".sweeps")


EVERYTHING = ["aaaa", "bbbb", "cccc", "dddd", "eeee"]
BY_ANY = ["--state", "done,failed,pending,new,stale,running"]


def test_without_yes_it_only_tells(runs, call, capsys):
    call("rm", *BY_ANY)
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in told if line.startswith("would remove")] == ["bbbb", "dddd", "eeee"]
    assert [line.split()[1] for line in told if line.startswith("kept")] == ["aaaa", "cccc"]
    assert told[-1] == "3 of 5 runs would be removed; nothing was, add --yes to do it"
    assert left(runs) == EVERYTHING


def test_it_keeps_what_is_done_or_at_work(runs, call, capsys):
    call("rm", *BY_ANY, "--yes")
    assert left(runs) == ["aaaa", "cccc"]
    assert capsys.readouterr().out.splitlines()[-1] == "3 runs removed, 2 kept"


def test_finished_runs_go_only_when_that_is_said(runs, call):
    call("rm", "aaaa", "--done", "--yes")
    assert left(runs) == EVERYTHING[1:]


def test_a_running_run_is_never_removed(make_run, call, tmp_path):
    folder = make_run("aaaa", "failed")
    with folder.owned(), pytest.raises(UserError, match="not removed: aaaa"):
        call("rm", "aaaa", "--yes", "--done")
    assert folder.file("config.yaml").exists()


def test_a_run_that_somebody_took_in_the_meantime_is_kept(make_run, monkeypatch):
    folder = make_run("aaaa", "failed")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "state", lambda _: "failed")  # what we saw before it was taken
        with folder.owned(), pytest.raises(UserError, match="is being trained"):
            remove(folder, done=False)
    folder.write_json("summary", {"test_acc": 1.0})
    with pytest.raises(UserError, match="it is done"):
        remove(folder, done=False)
    assert folder.path.exists()


def test_filters_choose(runs, call):
    call("rm", "--state", "failed", "--yes")
    assert left(runs) == ["aaaa", "cccc", "dddd", "eeee"]


def test_nothing_is_chosen_by_default(runs, call):
    with pytest.raises(UserError, match="name the runs to remove"):
        call("rm", "--yes", "--done")
    assert left(runs) == EVERYTHING


def test_an_empty_signature_is_not_every_run(make_run, call, tmp_path):
    make_run("aaaa", "failed")
    with pytest.raises(UserError, match="an empty signature names no run"):
        call("rm", "", "--yes")
    assert left(tmp_path) == ["aaaa"]


def test_filters_that_leave_nothing_are_told(make_run, call, capsys):
    make_run("aaaa", "failed")
    for verb in ("rm", "cancel", "retry"):
        call(verb, "--state", "new")
        assert capsys.readouterr().out.endswith(" passes these filters\n")


def test_a_killed_removal_leaves_no_half_run_and_the_next_one_cleans_up(make_run, call, tmp_path, monkeypatch):
    folder, other = make_run("aaaa", "failed"), make_run("bbbb", "failed")

    def killed(path, **_):
        os.unlink(path / "status.json")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rm.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(folder, done=False)
    assert not folder.path.exists()
    assert [path.parent.name for path in tmp_path.glob("*/config.yaml")] == ["bbbb"]
    call("rm", "bbbb", "--yes")
    assert not other.path.exists()
    assert left(tmp_path) == []
