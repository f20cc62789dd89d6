"""Runs on real JPEGs: kept going over a kill, with any number of workers, sieved by index."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spfde_exp.config import compose, signature
from spfde_exp.locks import is_locked
from spfde_exp.plan import build_model, make_plan
from spfde_exp.run import load_data, train
from spfde_exp.store import RunFolder
from spfde_exp.train.trainer import Trainer

SETTINGS = [
    "dataset=folder", "dataset.folder=tiny-imagenet-20", "dataset.image_size=24", "dataset.subset=240",
    "dataset.test_subset=40", "dataset.val_fraction=0.02", "model.width=0.25", "debug=tiny", "epochs=4",
    "freeze=none", "optim.batch_size=50", "threads=1", "logger=none",
]  # fmt: skip


def start(root: Path, runs_dir: Path, workers: int) -> "subprocess.Popen[str]":
    more = [f"dataset.root={root}", f"runs_dir={runs_dir}", f"dataset.workers={workers}"]
    return subprocess.Popen(
        [sys.executable, "-m", "spfde_exp", *SETTINGS, *more], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def result(runs_dir: Path) -> RunFolder:
    return RunFolder(runs_dir / signature(compose(SETTINGS)))


def finish(child: "subprocess.Popen[str]") -> None:
    _, told = child.communicate(timeout=300)
    assert child.returncode == 0, told


def same(one: RunFolder, other: RunFolder) -> None:
    first, second = (torch.load(folder.file("model.pt"), weights_only=True) for folder in (one, other))
    for part in ("model", "masks"):
        assert all(torch.equal(first[part][key], second[part][key]) for key in first[part])
    rows = [[{k: v for k, v in row.items() if "time" not in k} for row in f.metrics()] for f in (one, other)]
    assert rows[0] == rows[1]


@pytest.fixture(scope="module")
def calm(real_images: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that nothing disturbs, decoding by itself."""
    runs_dir = tmp_path_factory.mktemp("calm")
    finish(start(real_images, runs_dir, 0))
    return result(runs_dir)


@pytest.mark.slow
def test_a_run_learns_and_tells_its_data(calm: RunFolder) -> None:
    rows, meta = calm.metrics(), calm.json("meta")
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert {row["train_examples"] for row in rows} == {204}  # 85 % of 240
    assert all("val_acc" in row for row in rows)
    assert meta is not None
    assert meta["data_checksum"] == "e48d2895c3fdbe3d97b14726fd13fd5872d1c2b6d6657dcf962c0a2e5ad6409c"


@pytest.mark.slow
def test_workers_change_no_bit_of_a_run(calm: RunFolder, real_images: Path, tmp_path: Path) -> None:
    finish(start(real_images, tmp_path, 2))
    same(calm, result(tmp_path))


@pytest.mark.slow
def test_a_killed_run_goes_on_at_once_to_the_same_bits(calm: RunFolder, real_images: Path, tmp_path: Path) -> None:
    """Its workers go with it: one that lived on would hold the lock of the run's folder."""
    killed, child = result(tmp_path), start(real_images, tmp_path, 2)
    while len(killed.metrics()) < 2:
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.005)
    child.kill()
    child.wait()
    time.sleep(0.5)
    assert not is_locked(killed.path / ".lock")
    assert 2 <= len(killed.metrics()) < 4
    finish(start(real_images, tmp_path, 1))
    same(calm, killed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run_stops_it(real_images: Path, tmp_path: Path, number: signal.Signals) -> None:
    """As Ctrl-C in a terminal, `timeout` and Slurm send it: a worker that ended by itself would be a failure."""
    folder, child = result(tmp_path), start(real_images, tmp_path, 2)
    while not folder.metrics():
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.005)
    os.killpg(child.pid, number)
    _, told = child.communicate(timeout=60)
    assert child.returncode == 128 + number, told
    assert "goes on from the last checkpoint" in told and "worker" not in told


@pytest.mark.slow
def test_a_broken_image_ends_a_run_with_one_line(pets: Path, tmp_path: Path) -> None:
    path = pets / "pets" / "train" / "eel" / "0.png"
    path.write_bytes(path.read_bytes()[:40])
    settings = ["dataset=folder", "dataset.folder=pets", "dataset.image_size=8", "epochs=1", "optim.batch_size=4",
                "freeze=none", "sieve=none", "threads=1", "logger=none", "dataset.workers=2"]  # fmt: skip
    command = [sys.executable, "-m", "spfde_exp", *settings, f"dataset.root={pets}", f"runs_dir={tmp_path}/runs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert told.startswith(f"error: {path} cannot be decoded (")
    assert "Traceback" not in done.stderr


def test_other_images_than_a_run_began_with_are_told(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = ["dataset=folder", "dataset.folder=pets", "dataset.image_size=8", "dataset.workers=0", "epochs=2",
                 "optim.batch_size=4", "model.width=0.25", "freeze=none", "sieve=none", "threads=1", "logger=none",
                 f"dataset.root={pets}", f"runs_dir={tmp_path}/runs"]  # fmt: skip
    config = compose(overrides)
    append = RunFolder.append_metrics

    def stop_at_the_second(self: RunFolder, row: dict) -> None:  # type: ignore[type-arg]
        if row["epoch"] == 1:
            raise KeyboardInterrupt
        append(self, row)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "append_metrics", stop_at_the_second)
        train(config, overrides)
    path = pets / "pets" / "train" / "cat" / "0.png"
    path.write_bytes(path.read_bytes() + b" ")
    (pets / "pets" / "train" / "cat").touch()
    with caplog.at_level("WARNING"):
        train(config, overrides)
    assert "began with data_checksum" in caplog.text and "its bits may differ" in caplog.text


def test_what_is_sieved_out_is_not_seen(real_images: Path) -> None:
    """Every epoch trains on what the sieve keeps and on nothing else, and counts each example under its own number."""
    config = compose(
        [*SETTINGS, f"dataset.root={real_images}", "dataset.workers=0", "dataset.subset=60", "dataset.image_size=8"]
    )
    torch.manual_seed(0)
    model, data = build_model(config), load_data(config)
    trainer = Trainer(config, make_plan(config, model), model, data, torch.device("cpu"))
    trainer.begin()
    seen: list[int] = []
    observe = trainer.sieve.observe

    def watch(indices: torch.Tensor, correct: torch.Tensor) -> None:
        seen.extend(indices.tolist())
        observe(indices, correct)

    trainer.sieve.observe = watch  # type: ignore[method-assign]
    everything = set()
    for epoch in range(3):
        kept = sorted(trainer.sieve.kept.tolist())
        trainer.start_epoch(epoch)
        trainer.train_epoch(epoch)
        assert sorted(seen) == kept and len(kept) == 51
        everything |= set(kept)
        seen.clear()
    assert len(everything) > 51  # some came back
