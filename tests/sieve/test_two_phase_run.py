"""Whole runs with `sieve=two_phase`: what is trained and told, with freezing, and exact resume."""

from pathlib import Path

import pytest
import torch

from spfde_exp import run as module
from spfde_exp.config import compose, signature
from spfde_exp.run import train
from spfde_exp.store import RunFolder

TINY = ["debug=tiny", "threads=1", "logger=none", "dataset.test_subset=60", "freeze=0.2", "sieve=two_phase"]


def run(tmp_path: Path, *overrides: str) -> RunFolder:
    config = compose([*TINY, f"runs_dir={tmp_path}", *overrides])
    train(config, overrides)
    return RunFolder(tmp_path / signature(config))


@pytest.fixture(scope="module", params=["sieve.count=77", "sieve.threshold=0"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, RunFolder]:
    return request.param, run(tmp_path_factory.mktemp("whole"), request.param)


def test_the_whole_set_first_and_less_from_then_on(whole: tuple[str, RunFolder]) -> None:
    removal, folder = whole
    trained = [row["train_examples"] for row in folder.metrics()]
    assert trained[:4] == [200] * 4 and len(set(trained[4:])) == 1
    if removal == "sieve.count=77":
        assert trained[4] == 123
    else:
        assert 0 < trained[4] < 200  # the unforgettable ones of the first four epochs are gone


def test_plan_and_summary_agree_with_what_was_trained(whole: tuple[str, RunFolder]) -> None:
    removal, folder = whole
    plan, summary, rows = folder.json("plan"), folder.summary(), folder.metrics()
    saved = 1 - sum(row["train_examples"] for row in rows) / (8 * 200)
    assert summary["flops_reduction_sieve"] == pytest.approx(saved)
    assert "unknown" not in summary
    told = plan if removal == "sieve.count=77" else plan["realised"]
    assert ("realised" in plan) == ("unknown" in plan["prediction"]) == (removal == "sieve.threshold=0")
    assert told["sieve"]["removed"] == 200 - rows[-1]["train_examples"]
    for key in ("train_flops", "train_flops_paper", "flops_reduction_total"):
        assert told["prediction"][key] == pytest.approx(summary[key])
    assert plan["prediction"]["train_flops"] >= summary["train_flops"]  # a bound where it is unknown


@pytest.mark.parametrize("epoch", [2, 4, 6])
def test_stopped_and_gone_on_it_ends_the_same(
    epoch: int, whole: tuple[str, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removal, undisturbed = whole
    saved = module.save_checkpoint

    def stop(folder: RunFolder, state: dict) -> None:
        saved(folder, state)
        if state["epoch"] == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "save_checkpoint", stop)
        run(tmp_path, removal)
    folder = run(tmp_path, removal)
    a, b = (torch.load(f.file("model.pt"), weights_only=True) for f in (folder, undisturbed))
    assert all(torch.equal(a[part][key], b[part][key]) for part in ("model", "masks") for key in a[part])
    rows = [[{k: v for k, v in row.items() if "time" not in k} for row in f.metrics()] for f in (folder, undisturbed)]
    assert rows[0] == rows[1]
