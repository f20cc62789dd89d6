"""Training stored runs again: rerun from the start, retry from where they stopped."""

import json
import shutil

import pytest

from spfde_exp.config import compose
from spfde_exp.errors import UserError
from spfde_exp.failure import CANCELLED
from spfde_exp.launch.inline import Inline
from spfde_exp.launch.local import Local
from spfde_exp.launch.sweep import run_sweep
from spfde_exp.store import RunFolder
from spfde_exp.verbs.train import launcher

INLINE = "hydra/launcher=inline"


@pytest.fixture
def trained(tmp_path):
    """A finished run of three epochs."""
    words = ["debug=tiny", "epochs=3", "freeze=none", "logger=none", "threads=1", f"runs_dir={tmp_path}"]
    run_sweep([(words, compose(words))], Inline())
    (path,) = tmp_path.glob("*/summary.json")
    return RunFolder(path.parent)


def fail(folder, epochs):
    """Make a finished run look as if it had failed after `epochs` epochs."""
    folder.file("summary.json").unlink()
    folder.truncate_metrics(epochs)
    folder.set_status("failed", error="boom", failure="crash")
    if not epochs:
        for path in folder.path.glob("checkpoint*"):
            path.unlink()


def test_rerun_trains_from_the_start_and_ends_the_same(trained, call):
    before, attempt = trained.summary(), trained.json("status")["attempt"]
    started = trained.json("meta")["started"]
    call("rerun", trained.signature[:5], INLINE)
    assert trained.summary()["test_acc"] == before["test_acc"]
    assert trained.json("meta")["started"] > started
    assert trained.json("status")["attempt"] == attempt + 1
    assert trained.config()["force"] is False


def test_a_rerun_that_cannot_start_keeps_what_there_is(trained, call):
    before = trained.file("summary.json").read_bytes()
    with pytest.raises(UserError, match="cuda"):
        call("rerun", trained.signature, INLINE, "device=cuda:99")
    assert trained.file("summary.json").read_bytes() == before
    assert trained.state() == "done"


def test_retry_goes_on_with_the_stored_configuration(trained, call, capsys):
    accuracy = trained.summary()["test_acc"]
    fail(trained, 0)
    call("retry", INLINE)
    assert trained.summary()["test_acc"] == accuracy
    assert "1 of 1 runs done" in capsys.readouterr().out
    assert trained.json("meta")["overrides"][0] == "debug=tiny"
    call("retry", INLINE)
    assert "to be tried again" in capsys.readouterr().out


def test_a_folder_that_was_moved_is_trained_where_it_lies(trained, call, tmp_path):
    fail(trained, 0)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = RunFolder(shutil.move(trained.path, elsewhere))
    call("retry", INLINE, "--runs", str(elsewhere))
    assert moved.state() == "done"
    assert not trained.path.exists()


def test_retry_takes_what_failed_or_was_left_and_was_not_cancelled(make_run, call, capsys, monkeypatch):
    asked = []

    def train_again(runs, *_, **__):
        asked.append("".join(folder.signature[0] for folder, _ in runs))

    monkeypatch.setattr("spfde_exp.verbs.retry.train_again", train_again)
    make_run("aaaa", "failed", failure="crash")
    make_run("bbbb", "failed", failure=CANCELLED)
    make_run("cccc", "running")  # of no process: stale
    make_run("dddd", "done")
    make_run("eeee", "failed", failure="nan_loss")
    call("retry")
    assert "1 cancelled run is left alone" in capsys.readouterr().out
    call("retry", "--state", "failed")
    call("retry", "bbbb", "cccc")
    call("retry", "--state", "stale")
    call("retry", "--where", "epochs=4")
    assert asked == ["ace", "abe", "bc", "c", "ace"]
    with pytest.raises(UserError, match="dddd is done; retry takes failed and stale runs"):
        call("retry", "dddd")


def test_a_run_at_work_is_not_trained_again(make_run, call):
    make_run("aaaa", "pending")
    with pytest.raises(UserError, match="aaaa is pending; cancel it first"):
        call("rerun", "aaaa")


def test_rerun_takes_nothing_by_default(make_run, call):
    make_run("aaaa")
    with pytest.raises(UserError, match="name the runs to train again"):
        call("rerun", INLINE)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=3", "seed=3 would make it another run"),
        ("force=true", "allowed: hydra/launcher"),
        ("logger=none", r"logger\.mode=disabled"),
        ("threads=0", "threads=0 is impossible"),
    ],
)
def test_a_run_stays_the_run_it_is(trained, call, word, message):
    with pytest.raises(UserError, match=message):
        call("rerun", trained.signature, INLINE, word)


def test_a_run_of_other_rules_is_told(trained, call, tmp_path):
    other = tmp_path / "0000000000000000"
    trained.path.rename(other)
    with pytest.raises(UserError, match=f"signature {trained.signature}"):
        call("rerun", "0000", INLINE)


def test_the_plan_can_be_looked_at_first(trained, call, capsys):
    call("rerun", trained.signature, "dry_run=json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["signature"] == trained.signature


def test_launchers_are_named_as_in_a_sweep():
    assert isinstance(launcher([INLINE]), Inline)
    local = launcher(["hydra.launcher.retries=2"])
    assert isinstance(local, Local)
    assert local.retries == 2
    with pytest.raises(UserError, match="hydra/launcher=basic knows no run folders; allowed: inline, local, slurm"):
        launcher(["hydra/launcher=basic"])
    with pytest.raises(UserError, match=r"hydra\.launcher\.retries=-1 is impossible"):
        launcher(["hydra.launcher.retries=-1"])
