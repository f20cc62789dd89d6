"""One run end to end on digits: the folder of the contract, exact resume, and a sink that cannot hurt it."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spfde_exp.config import compose, signature
from spfde_exp.errors import UserError
from spfde_exp.run import train
from spfde_exp.store import RunFolder
from tests.running import TINY, assert_same_run, killed_in_epoch, process, run, wait_for_epochs

ROW = {
    "epoch", "train_loss", "train_acc", "test_loss", "test_acc", "lr", "sparsity", "density_trained", "frozen_blocks",
    "train_examples", "epoch_time_s", "eval_time_s", "epoch_flops", "memory_bytes",
}  # fmt: skip
SUMMARY = {
    "signature", "seed", "test_acc", "best_test_acc", "epochs", "sparsity", "sparsity_overall", "train_flops",
    "train_flops_dense", "train_flops_paper", "flops_reduction_freeze", "flops_reduction_freeze_trained",
    "flops_reduction_sieve", "flops_reduction_total", "inference_flops", "params", "params_active", "memory_avg_bytes",
    "memory_min_bytes", "memory_mest_bytes", "memory_peak_measured_bytes", "epoch_time_mean_s", "train_time_s",
    "forgetting_events", "unforgettable", "steps",
}  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("undisturbed"))


def test_the_run_folder_holds_the_contract(undisturbed):
    names = {path.name for path in undisturbed.path.iterdir()}
    assert {"config.yaml", "meta.json", "plan.json", "metrics.jsonl", "status.json", "checkpoint.pt",
            "checkpoint.prev.pt", "model.pt", "summary.json"} <= names  # fmt: skip
    rows, summary, meta = undisturbed.metrics(), undisturbed.summary(), undisturbed.json("meta")
    assert [row["epoch"] for row in rows] == list(range(8))
    assert all(row.keys() >= ROW for row in rows)
    assert summary.keys() >= SUMMARY
    assert summary["test_acc"] == rows[-1]["test_acc"]
    assert summary["best_test_acc"] == max(row["test_acc"] for row in rows)
    assert undisturbed.json("status")["state"] == "done"
    assert meta["signature"] == undisturbed.signature
    assert {"overrides", "git", "versions", "host", "device", "threads", "data_checksum"} <= meta.keys()


def test_a_run_imports_nothing_that_takes_longer_than_itself(tmp_path):
    """torch's compiler and scikit-learn take seconds; whoever starts forty small runs waits for each of them."""
    code = (
        "import sys; from spfde_exp.config import compose; from spfde_exp.run import train\n"
        f"words = [*{TINY}, 'epochs=2', 'freeze=none', 'runs_dir={tmp_path}']\n"
        "train(compose(words), words); print({'torch._dynamo', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stdout + done.stderr


def test_metered_flops_agree_with_the_plan(undisturbed):
    predicted = undisturbed.json("plan")["prediction"]
    assert undisturbed.summary()["train_flops"] == pytest.approx(predicted["train_flops"], rel=1e-3)


def test_measured_memory_agrees_with_its_prediction(undisturbed):
    summary = undisturbed.summary()
    assert summary["memory_peak_measured_bytes"] == pytest.approx(summary["memory_peak_predicted_bytes"], rel=0.15)


def test_final_model_is_exactly_at_the_target(undisturbed):
    saved = torch.load(undisturbed.file("model.pt"), weights_only=True)
    kept = undisturbed.json("plan")["sparsity"]["layers"]
    for layer, mask in saved["masks"].items():
        weight = saved["model"][f"{layer}.weight"]
        assert int(mask.sum()) == kept[layer]
        assert not weight[~mask].any()


def test_what_is_done_is_not_trained_again(undisturbed):
    before = undisturbed.file("summary.json").stat().st_mtime_ns
    run(undisturbed.path.parent)
    assert undisturbed.file("summary.json").stat().st_mtime_ns == before


def test_force_trains_again_to_the_same_bits(undisturbed, tmp_path):
    folder = run(tmp_path)
    before = folder.file("summary.json").stat().st_mtime_ns
    folder = run(tmp_path, "force=true")
    assert folder.file("summary.json").stat().st_mtime_ns > before
    assert len(folder.metrics()) == 8
    assert_same_run(undisturbed, folder)


def test_killed_again_and_again_it_ends_as_if_undisturbed(undisturbed, tmp_path):
    for epochs in (1, 4, 6):
        folder = killed_in_epoch(tmp_path, undisturbed.signature, epochs)
        assert folder.state() == "stale"
        assert folder.summary() is None
    child = process(tmp_path)
    _, said = child.communicate()
    assert child.returncode == 0
    assert "goes on at epoch" in said
    assert folder.json("status")["attempt"] == 4
    assert_same_run(undisturbed, folder)


def test_a_torn_checkpoint_costs_one_epoch_and_no_bit(undisturbed, tmp_path):
    folder = killed_in_epoch(tmp_path, undisturbed.signature, 4)
    os.truncate(folder.file("checkpoint.pt"), 1000)
    child = process(tmp_path)
    _, said = child.communicate()
    assert (child.returncode, "cannot be read" in said) == (0, True)
    assert_same_run(undisturbed, folder)


def test_two_torn_checkpoints_stop_it_in_one_line(undisturbed, tmp_path):
    folder = killed_in_epoch(tmp_path, undisturbed.signature, 4)
    for name in ("checkpoint.pt", "checkpoint.prev.pt"):
        os.truncate(folder.file(name), 1000)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    child = process(tmp_path, "logger=wandb")
    _, said = child.communicate()
    assert child.returncode == 1
    assert said.startswith("error: no checkpoint of run")
    assert said.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()} == before


def test_lost_epochs_are_not_passed_over(undisturbed, tmp_path):
    folder = killed_in_epoch(tmp_path, undisturbed.signature, 4)
    lines = folder.file("metrics.jsonl").read_text().splitlines()
    folder.file("metrics.jsonl").write_text("\n".join([lines[0], "{", *lines[2:]]) + "\n")
    with pytest.raises(UserError, match=r"lost epochs .* force=true"):
        run(tmp_path)


def test_resume_between_two_checkpoints(undisturbed, tmp_path):
    killed_in_epoch(tmp_path, undisturbed.signature, 5, "checkpoint_every=3")
    assert_same_run(undisturbed, run(tmp_path, "checkpoint_every=3"))


def test_ctrl_c_leaves_it_ready_to_go_on(undisturbed, tmp_path):
    folder = RunFolder(tmp_path / undisturbed.signature)
    child = process(tmp_path)
    wait_for_epochs(folder, 2, child)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 130
    assert said.splitlines()[-1].startswith("interrupted;")
    assert folder.json("status")["state"] == "pending"
    assert_same_run(undisturbed, run(tmp_path))


def test_a_loss_that_is_not_finite_fails_the_run(tmp_path):
    config = compose([*TINY, f"runs_dir={tmp_path}", "optim.lr=1e30"])
    with pytest.raises(UserError, match=r"became (nan|inf) in epoch"):
        train(config)
    folder = RunFolder(tmp_path / signature(config))
    assert folder.state() == "failed"
    assert "lower optim.lr" in folder.json("status")["error"]


def test_hold_out_is_logged_and_is_the_objective(tmp_path):
    config = compose([*TINY, f"runs_dir={tmp_path}", "dataset.val_fraction=0.2"])
    accuracy = train(config)
    folder = RunFolder(tmp_path / signature(config))
    assert accuracy == folder.summary()["val_acc"] == folder.metrics()[-1]["val_acc"]
    assert folder.json("plan")["sieve"]["examples"] == 200


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=dense"],
        ["method=static", "freeze=none"],
        ["method=mest", "sieve=none"],
        ["method=mest_em", "sparsity=0.8"],
        ["method=mest_ems", "method.init=magnitude", "freeze.bn=train"],
        ["precision=bf16"],
        ["epochs=1", "freeze=none"],
        ["optim.batch_size=500", "sparsity.prunable=block_3x3"],
    ],
)
def test_other_settings_train_to_their_plan(tmp_path, overrides):
    folder = run(tmp_path, *overrides)
    summary, plan = folder.summary(), folder.json("plan")["prediction"]
    assert summary["train_flops"] == pytest.approx(plan["train_flops"], rel=1e-3)
    assert summary["sparsity"] == pytest.approx(plan["sparsity"])
    assert all(math.isfinite(row["train_loss"]) for row in folder.metrics())


def fake_wandb(tmp_path: Path, body: str) -> dict[str, str]:
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "wandb.py").write_text(body)
    return os.environ | {"PYTHONPATH": f"{tmp_path / 'fake'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


@pytest.mark.parametrize("body", ["raise RuntimeError('no W&B today')", "import time\ntime.sleep(600)"])
def test_a_sink_that_raises_or_hangs_does_not_hurt_the_run(undisturbed, tmp_path, body):
    environment = fake_wandb(tmp_path, body)
    options = ["logger=wandb", "logger.mode=offline", "logger.timeout_s=3"]
    child = process(tmp_path, *options, env=environment)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 0, said
    folder = RunFolder(tmp_path / undisturbed.signature)
    assert folder.state() == "done"
    assert_same_run(undisturbed, folder)


def test_wandb_holds_the_whole_history_after_a_kill(undisturbed, tmp_path):
    from spfde_exp.track.wandb_offline import read_offline

    folder = killed_in_epoch(tmp_path, undisturbed.signature, 3, "logger=wandb")
    child = process(tmp_path, "logger=wandb")
    assert child.wait(120) == 0
    seen = read_offline(folder.path)
    rows = folder.metrics()
    assert len(seen.history) == len(rows) == 8
    for logged, row in zip(seen.history, rows, strict=True):
        assert {key: logged.get(key) for key in row} == row
    assert seen.config["sparsity"]["target"] == 0.9
    assert {key: seen.summary[key] for key in folder.summary()} == folder.summary()


def test_metrics_are_json_lines(undisturbed):
    lines = undisturbed.file("metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(8))
