"""The pool of local runs: never more than slots, each on its own device; whatever is killed, the rest is finished."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spfde_exp.config import compose
from spfde_exp.launch import pool, slots
from spfde_exp.launch.local import Local
from spfde_exp.launch.sweep import run_sweep
from spfde_exp.locks import is_locked
from spfde_exp.store import CANCEL, RunFolder
from tests.launch.fake_job import fake_job

ROOT = Path(__file__).resolve().parents[2]
TINY = ["debug=tiny", "epochs=3", "freeze=none", "logger=none", "runs_dir=out", "threads=1"]


def folders(root: Path) -> list[RunFolder]:
    return [RunFolder(path.parent) for path in sorted(root.glob("*/config.yaml"))]


def start(cwd: Path, *arguments: str, **sabotage: str) -> subprocess.Popen[str]:
    """The command as a process in a terminal of its own, with runs that fail as `sabotage` says (s0="nan")."""
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent / "sabotage")])
    how = json.dumps({key.removeprefix("s"): value for key, value in sabotage.items()})
    env = {**os.environ, "PYTHONPATH": path, "SPFDE_TEST_SABOTAGE": how}
    command = [sys.executable, "-m", "spfde_exp", "-m", *TINY, *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_for(condition) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def epochs(root: Path) -> list[int]:
    return [len(folder.metrics()) for folder in folders(root)]


def at_once(spans: list[tuple[float, float]]) -> int:
    """The largest number of spans that overlap at a moment."""
    events = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    return max(itertools.accumulate(step for _, step in events))


# -- slots and devices


def train_on_fakes(monkeypatch, tmp_path, runs: int, gpus: str, most: int, **options) -> list[dict]:
    monkeypatch.setattr(pool, "run_job", fake_job)
    monkeypatch.setenv("SPFDE_TEST_AT_ONCE", str(most))
    monkeypatch.setattr(pool, "POLL_S", 0.02)
    monkeypatch.setattr(slots, "gpu_count", lambda: len(gpus.split(",")) if gpus else 0)
    monkeypatch.setattr(slots, "core_ids", lambda: list(range(4)))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "simulated")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    jobs = [
        ([f"seed={seed}"], compose(["debug=tiny", f"seed={seed}", f"runs_dir={tmp_path / 'out'}"]))
        for seed in range(runs)
    ]
    assert run_sweep(jobs, Local(**options)) == [1.0] * runs
    return [folder.summary() for folder in folders(tmp_path / "out")]


@pytest.mark.parametrize(
    ("gpus", "options", "most"),
    [
        ("3,5", {}, 2),
        ("3,5", {"runs_per_device": 2}, 4),
        ("3,5", {"slots": 1}, 1),
        ("", {}, 4),
        ("", {"slots": 2}, 2),
        ("", {"slots": 1, "runs_per_device": 3}, 3),
    ],
)
def test_never_more_runs_than_slots_each_on_its_device(monkeypatch, tmp_path, gpus, options, most):
    made = train_on_fakes(monkeypatch, tmp_path, 8, gpus, most, **options)
    assert at_once([tuple(run["span"]) for run in made]) == most
    for device in gpus.split(",") if gpus else []:
        spans = [tuple(run["span"]) for run in made if run["gpu"] == device]
        assert len(spans) == 0 if options.get("slots") == 1 and device == "5" else at_once(spans) <= max(1, most // 2)
    assert {run["packed"] for run in made} == {options.get("runs_per_device", 1)}
    assert all((run["gpu"] is None) == (not gpus) for run in made)


def test_the_longest_run_starts_first(monkeypatch, tmp_path):
    monkeypatch.setattr(pool, "run_job", fake_job)
    monkeypatch.setenv("SPFDE_TEST_AT_ONCE", "1")
    jobs = [
        (
            [f"epochs={epochs}"],
            compose(["debug=tiny", "freeze=none", f"epochs={epochs}", f"runs_dir={tmp_path / 'out'}"]),
        )
        for epochs in (2, 8, 4)
    ]
    run_sweep(jobs, Local(slots=1))
    begun = {folder.config()["epochs"]: folder.summary()["span"][0] for folder in folders(tmp_path / "out")}
    assert sorted(begun, key=begun.__getitem__) == [8, 4, 2]


@pytest.mark.slow
def test_packed_runs_are_marked(tmp_path):
    status, _, err = finish(start(tmp_path, "seed=0,1", "hydra.launcher.slots=1", "hydra.launcher.runs_per_device=2"))
    assert status == 0, err
    metas = [folder.json("meta") for folder in folders(tmp_path / "out")]
    assert [meta["runs_per_device"] for meta in metas] == [2, 2]


# -- two sweeps at the same time


@pytest.mark.slow
def test_two_identical_sweeps_train_every_run_once(tmp_path):
    one, other = (start(tmp_path, "seed=range(0,5)", "hydra.launcher.slots=2") for _ in range(2))
    for process in (one, other):
        status, out, err = finish(process)
        assert status == 0, err
        assert "5 of 5 runs done" in out
    found = folders(tmp_path / "out")
    assert len(found) == 5
    assert [folder.json("status")["attempt"] for folder in found] == [1] * 5
    metas = [folder.json("meta") for folder in found]
    assert at_once([(meta["started"], meta["finished"]) for meta in metas]) <= 2


@pytest.mark.slow
def test_two_different_sweeps_share_the_slots(tmp_path):
    sweeps = [start(tmp_path, f"seed={seeds}", "hydra.launcher.slots=2") for seeds in ("0,1,2", "3,4,5")]
    for process in sweeps:
        status, _, err = finish(process)
        assert status == 0, err
    metas = [folder.json("meta") for folder in folders(tmp_path / "out")]
    assert len(metas) == 6
    assert at_once([(meta["started"], meta["finished"]) for meta in metas]) <= 2


# -- stopped and killed


@pytest.mark.slow
@pytest.mark.parametrize("how", ["Ctrl-C", "parent", "worker"])
def test_what_is_stopped_or_killed_goes_on_with_the_next_call(tmp_path, how):
    arguments = ["epochs=12", "seed=range(0,4)", "hydra.launcher.slots=2"]
    sweep = start(tmp_path, *arguments, s2="hang", s3="hang")  # two are done, two wait in their second epoch
    out = tmp_path / "out"
    wait_for(lambda: sorted(epochs(out)) == [1, 1, 12, 12])
    wait_for(lambda: all(folder.file("checkpoint.pt").exists() for folder in folders(out)))
    wait_for(lambda: [folder.state() for folder in folders(out)].count("done") == 2)
    done = {folder.signature: folder.file("summary.json").stat().st_mtime_ns for folder in folders(out)
            if folder.state() == "done"}  # fmt: skip
    hanging = [folder for folder in folders(out) if folder.signature not in done]
    if how == "Ctrl-C":
        os.killpg(sweep.pid, signal.SIGINT)
    elif how == "parent":
        os.kill(sweep.pid, signal.SIGKILL)
    else:
        for folder in hanging:
            os.kill(folder.json("status")["pid"], signal.SIGKILL)
    begin = time.monotonic()
    status, _, err = finish(sweep)
    wait_for(lambda: not any(is_locked(folder.file(".lock")) for folder in hanging))
    assert time.monotonic() - begin < 15  # no orphan trains on, and nothing is waited for
    assert status == {"Ctrl-C": 130, "parent": -signal.SIGKILL, "worker": 1}[how]
    assert "Traceback" not in err
    if how == "Ctrl-C":
        assert err.splitlines()[-1] == "interrupted; the same command goes on from the last checkpoint"
    if how == "worker":
        assert {folder.json("status")["failure"] for folder in hanging} == {"crash"}
        assert "its process was killed" in err
    status, _, err = finish(start(tmp_path, *arguments))
    assert status == 0, err
    assert "2 done, 2 to train" in err
    assert epochs(out) == [12] * 4
    for folder in folders(out):
        if folder.signature in done:
            assert folder.file("summary.json").stat().st_mtime_ns == done[folder.signature]
        else:  # its first epoch was not lost
            assert "goes on at epoch 1" in "".join(log.read_text() for log in folder.path.glob("submitit/*_log.out"))


# -- failures


@pytest.mark.slow
def test_failing_runs_are_named_with_their_class_and_only_they_are_tried_again(tmp_path, run_cli):
    arguments = ["seed=range(0,5)", "hydra.launcher.slots=2"]
    status, text, err = finish(start(tmp_path, *arguments, s1="nan", s2="memory", s3="crash"))
    assert status == 1
    assert "2 of 5 runs done" in text
    assert err.strip().splitlines()[-1].startswith("error: 3 of 5 runs failed (")
    assert "Traceback" not in err
    found = {folder.config()["seed"]: folder for folder in folders(tmp_path / "out")}
    failures = {seed: folder.json("status")["failure"] for seed, folder in found.items()}
    assert failures == {0: None, 1: "nan_loss", 2: "out_of_memory", 3: "crash", 4: None}
    table = run_cli("--runs", "out", cwd=tmp_path, module="spfde_exp.status").stdout
    for seed in (1, 2, 3):
        (row,) = [line for line in table.splitlines() if found[seed].signature in line]
        assert failures[seed] in row
    status, _, err = finish(start(tmp_path, *arguments))
    assert status == 0, err
    assert "2 done, 3 to train" in err
    attempts = {seed: folder.json("status")["attempt"] for seed, folder in found.items()}
    assert attempts == {0: 1, 1: 2, 2: 2, 3: 2, 4: 1}
    assert [entry["failure"] for entry in found[2].json("status")["history"]] == ["out_of_memory", None]


@pytest.mark.slow
def test_retries_try_again_what_may_pass(tmp_path):
    arguments = ["seed=0,1", "hydra.launcher.retries=2"]
    status, _, err = finish(start(tmp_path, *arguments, s0="nan", s1="die"))
    assert status == 1
    assert err.count("and is tried again") == 2
    found = {folder.config()["seed"]: folder.json("status") for folder in folders(tmp_path / "out")}
    assert {seed: status["attempt"] for seed, status in found.items()} == {0: 1, 1: 3}
    assert [entry["failure"] for entry in found[1]["history"]] == ["crash"] * 3


@pytest.mark.slow
def test_a_cancelled_run_is_dropped_and_the_others_go_on(tmp_path):
    sweep = start(tmp_path, "seed=0,1,2", "hydra.launcher.slots=1", s0="hang")
    wait_for(lambda: epochs(tmp_path / "out") and max(epochs(tmp_path / "out")) == 1)
    hanging, *waiting = sorted(folders(tmp_path / "out"), key=lambda folder: folder.config()["seed"])
    for folder in (hanging, waiting[0]):
        folder.file(CANCEL).touch()
    status, text, err = finish(sweep)
    assert status == 1
    assert "1 of 3 runs done" in text
    assert err.count("2 of 3 runs failed (cancelled by `runs cancel`)") == 1
    assert [folder.json("status")["failure"] for folder in (hanging, *waiting)] == ["cancelled", "cancelled", None]
    status, _, err = finish(start(tmp_path, "seed=0,1,2"))
    assert status == 0, err


@pytest.mark.slow
def test_an_error_before_the_run_is_owned_is_told_as_it_is_and_not_tried_again(tmp_path):
    status, _, err = finish(start(tmp_path, "seed=0"))
    assert status == 0, err
    (folder,) = folders(tmp_path / "out")
    folder.file("summary.json").unlink()
    for name in ("checkpoint.pt", "checkpoint.prev.pt"):
        folder.file(name).write_bytes(b"torn")
    status, _, err = finish(start(tmp_path, "seed=0", "hydra.launcher.retries=1"))
    assert status == 1
    assert "no checkpoint of run" in err.strip().splitlines()[-1]
    assert "tried again:" not in err
    assert folder.json("status")["failure"] == "bad_input"


@pytest.mark.slow
def test_killed_after_its_summary_a_run_is_done(tmp_path):
    status, _, err = finish(start(tmp_path, "seed=0,1", s0="die at the end"))
    assert status == 0, err
    assert {folder.state() for folder in folders(tmp_path / "out")} == {"done"}


@pytest.mark.slow
def test_a_folder_that_is_removed_costs_only_its_run(tmp_path):
    sweep = start(tmp_path, "seed=0,1,2", "hydra.launcher.slots=1", "epochs=30")
    wait_for(lambda: epochs(tmp_path / "out") and max(epochs(tmp_path / "out")) > 1)
    _, removed, _ = sorted(folders(tmp_path / "out"), key=lambda folder: folder.config()["seed"])
    removed.path.rename(tmp_path / "removed")
    status, text, err = finish(sweep)
    assert status == 1
    assert "2 of 3 runs done" in text
    assert "1 of 3 runs failed (its folder was removed)" in err


@pytest.mark.slow
def test_inline_a_cancelled_run_does_not_end_the_others(tmp_path):
    sweep = start(tmp_path, "seed=0,1", "hydra/launcher=inline", s0="hang")
    wait_for(lambda: epochs(tmp_path / "out") and max(epochs(tmp_path / "out")) == 1)
    (hanging,) = [folder for folder in folders(tmp_path / "out") if folder.config()["seed"] == 0]
    hanging.file(CANCEL).touch()
    status, text, err = finish(sweep)
    assert status == 1
    assert "1 of 2 runs done" in text
    assert "1 of 2 runs failed (cancelled by `runs cancel`)" in err
    assert hanging.json("status")["failure"] == "cancelled"


# -- planned is what is trained


@pytest.mark.slow
def test_an_edit_of_conf_after_submission_changes_nothing(tmp_path):
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("conf", "sweeps", "spfde_exp", "hydra_plugins", "setup.cfg"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(copy)], check=True)
    env = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, "-m", "spfde_exp", "-m", *TINY, "seed=0,1", "hydra.launcher.slots=1"]
    sweep = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(folders(tmp_path / "out")) == 2)
    planned = {folder.signature: folder.config() for folder in folders(tmp_path / "out")}
    for path in (copy / "conf" / "optim").glob("*.yaml"):
        path.write_text(path.read_text().replace("weight_decay: ", "weight_decay: 1"))
    (copy / "spfde_exp" / "rounding.py").open("a").write("# edited\n")
    _, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, err
    assert len(folders(tmp_path / "out")) == 2
    for folder in folders(tmp_path / "out"):
        assert folder.state() == "done"
        assert folder.config()["optim"] == planned[folder.signature]["optim"]
    last = max(folders(tmp_path / "out"), key=lambda folder: folder.json("meta")["started"])
    assert last.json("meta")["code_changed"]  # told, since today's code trained it
    assert "the code has changed since sweep" in "".join(log.read_text() for log in last.path.glob("submitit/*.out"))
