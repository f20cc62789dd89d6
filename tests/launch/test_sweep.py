"""A sweep: each run once, as a submitit job, no more at once than slots; failures stay alone."""

import itertools
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from spfde_exp.config import compose, signature
from spfde_exp.jobs import Unavailable
from spfde_exp.launch.inline import Inline
from spfde_exp.launch.local import Local
from spfde_exp.launch.sweep import SweepFailed, raise_if_failed, run_sweep
from spfde_exp.store import RunFolder

TINY = ["debug=tiny", "epochs=3", "freeze=none", "logger=none"]


def folders(root: Path) -> list[RunFolder]:
    return [RunFolder(path.parent) for path in sorted(root.glob("*/config.yaml"))]


def test_runs_are_jobs_of_submitit_and_done_ones_are_skipped(tmp_path, run_cli):
    arguments = ["-m", *TINY, "seed=0,1,2", "runs_dir=out"]
    first = run_cli(*arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "3 of 3 runs done" in first.stdout
    found = folders(tmp_path / "out")
    assert len(found) == 3
    for folder in found:
        assert folder.state() == "done"
        assert len(list(folder.file("submitit").glob("*_log.out"))) == 1
        assert len(list(folder.file("submitit").glob("*_result.pkl"))) == 1
        assert folder.json("meta")["overrides"][:2] == TINY[:2]
        assert folder.signature in first.stdout
    before = [folder.file("summary.json").stat().st_mtime_ns for folder in found]
    second = run_cli(*arguments, cwd=tmp_path)
    assert second.returncode == 0
    assert "3 of 3 runs done" in second.stdout
    assert "3 done, 0 to train" in second.stderr
    assert [folder.file("summary.json").stat().st_mtime_ns for folder in found] == before


def test_no_more_at_once_than_slots(tmp_path, run_cli):
    done = run_cli("-m", *TINY, "seed=0,1,2", "runs_dir=out", "hydra.launcher.slots=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    spans = []
    for folder in folders(tmp_path / "out"):
        meta = folder.json("meta")
        spans.append((meta["started"], meta["finished"]))
    spans.sort()
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_failed_run_does_not_stop_the_others(tmp_path, run_cli):
    arguments = ["-m", *TINY, "optim.lr=0.1,1e30,0.2", "runs_dir=out"]
    done = run_cli(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "2 of 3 runs done" in done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: 1 of 3 runs failed (")
    assert "lower optim.lr" in last
    assert "Traceback" not in done.stderr
    states = sorted(folder.state() for folder in folders(tmp_path / "out"))
    assert states == ["done", "done", "failed"]
    again = run_cli(*arguments, cwd=tmp_path)
    assert "2 done, 1 to train" in again.stderr
    assert again.returncode == 1


def jobs(tmp_path: Path, *each: list[str]):
    return [([*TINY, *more], compose([*TINY, f"runs_dir={tmp_path}", "threads=1", *more])) for more in each]


def test_jobs_that_share_a_run_train_it_once(tmp_path, capsys):
    outcomes = run_sweep(jobs(tmp_path, ["method=dense"], ["sparsity=0"], ["method=dense", "sparsity=0.5"]), Inline())
    assert len(set(outcomes)) == 1
    assert len(folders(tmp_path)) == 1
    assert "1 of 1 runs done" in capsys.readouterr().out


def test_inline_equals_a_process_of_its_own(tmp_path, run_cli):
    inline = run_sweep(jobs(tmp_path / "inline", ["seed=5"]), Inline())
    done = run_cli("-m", *TINY, "seed=5", "threads=1", f"runs_dir={tmp_path / 'local'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = folders(tmp_path / "local")
    assert folder.summary()["test_acc"] == inline[0]


def test_a_run_that_another_process_trains_is_left_to_it(tmp_path):
    ((overrides, config),) = jobs(tmp_path, ["seed=0"])
    folder = RunFolder(tmp_path / signature(config))
    owner = ExitStack()
    owner.enter_context(folder.owned())

    def end() -> None:
        folder.write_json(
            "summary",
            {"test_acc": 12.5, "train_flops": 1, "flops_reduction_total": 0, "memory_avg_bytes": 1, "train_time_s": 1},
        )
        owner.close()

    threading.Timer(3, end).start()
    assert run_sweep([(overrides, config)], Local()) == [12.5]
    assert not folder.file("submitit").exists()  # nothing was started for it


@pytest.mark.parametrize("dry", ["true", "json"])
def test_a_dry_run_of_nothing_that_is_available_starts_nothing(capsys, dry):
    absent = ([f"dry_run={dry}", "method=snip", "+sweep=[T2]"], Unavailable(("method=snip",)))
    assert run_sweep([absent], Inline()) == [None]
    assert "not available" in capsys.readouterr().out


def test_failures_are_named_once():
    raise_if_failed([1.0, None])
    with pytest.raises(SweepFailed, match=r"2 of 3 runs failed \(boom\); the same command"):
        raise_if_failed([RuntimeError("boom"), 1.0, RuntimeError("boom")])


def test_cells_that_do_not_exist_yet_are_named_and_the_others_trained(tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    (available,) = jobs(tmp_path, ["seed=0"])
    outcomes = run_sweep([available, (["method=snip"], Unavailable(("method=snip",)))], Inline())
    assert isinstance(outcomes[0], float)
    assert "1 run: 0 done, 1 to train, 1 not available (method=snip)" in caplog.messages
    assert "1 of 1 runs done" in capsys.readouterr().out
    with pytest.raises(SweepFailed, match=r"^1 of 2 runs is not available in this version \(method=snip\)$"):
        raise_if_failed(outcomes)
