"""Expected times: past runs of the same kind, else a trial that is kept, else nothing."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from spfde_exp.config import compose
from spfde_exp.launch import estimate as module
from spfde_exp.launch import trial
from spfde_exp.launch.estimate import epochs_done, expected_paces, longest_first
from spfde_exp.launch.slots import Slot
from spfde_exp.plan import make_plan
from spfde_exp.schema import Config
from spfde_exp.store import RunFolder

CPU = Slot(None, 2, ("cpu-0", "cpu-1"))
PACE = 1e-11


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "spfde_exp"


def config_of(tmp_path: Path, *overrides: str) -> Config:
    return compose([f"runs_dir={tmp_path / 'runs'}", "freeze=none", *overrides])


def flops(config: Config) -> int:
    return make_plan(config).prediction()["train_flops_simulated"]


def expected_seconds(configs: list[Config], slot: Slot | None, trials: bool = False) -> list[float | None]:
    paces = expected_paces(configs, slot, trials)
    return [pace and pace.seconds * flops(config) for pace, config in zip(paces, configs, strict=True)]


def finished(config: Config, pace: float = PACE, **meta: object) -> RunFolder:
    """A folder of a run that took `pace` seconds per FLOP."""
    folder = RunFolder.of(config)
    folder.path.mkdir(parents=True)
    folder.write_config(asdict(config))
    folder.write_json("meta", {"device": "cpu", "device_name": "cpu", "threads": 2, "runs_per_device": 1, **meta})
    folder.write_json("summary", {"train_time_s": pace * flops(config), "train_flops_simulated": flops(config)})
    return folder


def test_a_run_takes_as_long_per_flop_as_past_runs_of_its_kind(tmp_path):
    finished(config_of(tmp_path, "seed=1"))
    config = config_of(tmp_path, "seed=2", "sieve=0.3", "epochs=40", "sparsity=0.8", "optim.lr=0.3")
    assert expected_seconds([config], CPU) == [pytest.approx(PACE * flops(config))]


@pytest.mark.parametrize(
    "override",
    ["model=resnet20", "model.width=1", "recipe=cifar10", "optim.batch_size=16", "precision=bf16", "threads=1"],
)
def test_other_kinds_tell_nothing(tmp_path, override):
    finished(config_of(tmp_path, "seed=1"))
    assert expected_seconds([config_of(tmp_path, override)], CPU) == [None]


def test_the_sparse_engine_is_a_kind_of_its_own_at_each_sparsity(tmp_path):
    finished(config_of(tmp_path, "seed=1"))
    finished(config_of(tmp_path, "seed=2", "engine=sparse", "sparsity=0.9"), PACE / 2)
    same, sparser = (config_of(tmp_path, "seed=3", "engine=sparse", f"sparsity={s}") for s in (0.9, 0.95))
    assert expected_seconds([same, sparser], CPU) == [pytest.approx(PACE / 2 * flops(same)), None]


@pytest.mark.parametrize(
    "meta", [{"runs_per_device": 2}, {"threads": 1}, {"device": "cuda:0", "device_name": "NVIDIA H200"}]
)
def test_packed_runs_and_other_devices_tell_nothing(tmp_path, meta):
    finished(config_of(tmp_path, "seed=1"), **meta)
    assert expected_seconds([config_of(tmp_path)], CPU) == [None]


def test_the_median_of_several_runs_counts(tmp_path):
    for seed, pace in enumerate([PACE, 2 * PACE, 100 * PACE]):
        finished(config_of(tmp_path, f"seed={seed}"), pace)
    config = config_of(tmp_path, "seed=9")
    assert expected_seconds([config], CPU) == [pytest.approx(2 * PACE * flops(config))]


def test_where_the_device_is_not_known_past_runs_on_any_tell(tmp_path):
    finished(config_of(tmp_path, "seed=1"), device="cuda:0", device_name="NVIDIA H200", threads=8)
    config = config_of(tmp_path)
    assert expected_seconds([config], None) == [pytest.approx(PACE * flops(config))]


def test_foreign_and_damaged_folders_are_passed_over(tmp_path):
    finished(config_of(tmp_path, "seed=1"))
    for name, summary in (("a", "{}"), ("b", "["), ("c", '{"train_time_s": 1, "train_flops_simulated": 0}')):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "summary.json").write_text(summary)
    newer = finished(config_of(tmp_path, "seed=2"))
    newer.file("config.yaml").write_text("schema_version: 99\n")
    assert expected_seconds([config_of(tmp_path)], CPU) != [None]


def test_longest_first_by_flops_where_nothing_tells(tmp_path):
    configs = [config_of(tmp_path, f"epochs={epochs}") for epochs in (20, 80, 40)]
    assert longest_first(configs, CPU) == ([1, 2, 0], [None, None, None])


def test_longest_first_by_time_where_past_runs_tell(tmp_path):
    """A FLOP of the wide model takes a tenth of the time; a third model is taken to be as fast as the median."""
    narrow, wide, other = (config_of(tmp_path, f"model.width={width}", "seed=9") for width in (0.5, 1, 0.75))
    finished(config_of(tmp_path, "model.width=0.5"), PACE)
    finished(config_of(tmp_path, "model.width=1"), PACE / 10)
    order, seconds = longest_first([wide, other, narrow], CPU)
    assert seconds == [pytest.approx(PACE / 10 * flops(wide)), None, pytest.approx(PACE * flops(narrow))]
    assert flops(wide) < 5 * flops(narrow) and order == [1, 2, 0]


def half_trained(config: Config, epochs: int) -> RunFolder:
    """A run that was left after so many epochs."""
    folder = RunFolder.of(config)
    folder.path.mkdir(parents=True)
    for epoch in range(epochs):
        folder.append_metrics({"epoch": epoch})
    folder.file("checkpoint.pt").touch()
    return folder


def test_of_a_run_that_has_begun_the_epochs_that_are_left_count(tmp_path):
    long, short = config_of(tmp_path, "epochs=80"), config_of(tmp_path, "epochs=30")
    half_trained(long, 60)
    finished(config_of(tmp_path, "seed=1"))
    order, seconds = longest_first([long, short], CPU)
    assert order == [1, 0]
    assert seconds == [pytest.approx(PACE * flops(long) / 4), pytest.approx(PACE * flops(short))]


def test_epochs_that_a_run_goes_on_from(tmp_path):
    config = config_of(tmp_path, "epochs=80", "checkpoint_every=5")
    assert epochs_done(config) == 0
    folder = half_trained(config, 13)
    assert epochs_done(config) == 10  # where the last checkpoint is
    assert epochs_done(replace(config, force=True)) == 0
    folder.write_json("summary", {})
    assert epochs_done(config) == 0
    folder.file("summary.json").unlink()
    folder.file("checkpoint.pt").unlink()
    assert epochs_done(config) == 0


# -- trials


@pytest.fixture
def trials(monkeypatch) -> list[tuple[str, int | None]]:
    """Each trial that is made, which is not really."""
    made: list[tuple[str, int | None]] = []

    def fake(config: Config, threads: int | None) -> float:
        made.append((config.model.name, threads))
        return PACE

    monkeypatch.setattr(trial, "trial_pace", fake)
    return made


def test_a_trial_is_made_once_for_each_kind_and_kept(tmp_path, trials, cache):
    configs = [config_of(tmp_path, f"seed={seed}", f"model={m}") for seed in (0, 1) for m in ("resnet14", "resnet20")]
    expected = [pytest.approx(PACE * flops(config)) for config in configs]
    assert expected_seconds(configs, CPU, trials=True) == expected
    assert expected_seconds(configs, CPU, trials=True) == expected
    assert trials == [("resnet14", 2), ("resnet20", 2)]
    assert len(list(cache.iterdir())) == 2
    assert not (tmp_path / "runs").exists()
    expected_seconds([config_of(tmp_path, "threads=1")], CPU, trials=True)
    assert trials[2:] == [("resnet14", 1)]


def test_past_runs_spare_the_trial(tmp_path, trials):
    finished(config_of(tmp_path, "seed=1"))
    (pace,) = expected_paces([config_of(tmp_path)], CPU, trials=True)
    assert pace and not pace.tried
    assert trials == []


@pytest.mark.parametrize(("hours", "made"), [(-1, 2), (1, 1), (23, 1), (25, 2)])
@pytest.mark.parametrize("factor", [0.5, 20.0])
def test_a_trial_is_made_again_after_a_day_and_the_faster_counts(tmp_path, trials, cache, hours, made, factor):
    """A busy machine makes a trial slower, never faster. One that was made in the future is not believed."""
    config = config_of(tmp_path)
    expected_seconds([config], CPU, trials=True)
    (file,) = cache.iterdir()
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"seconds_per_flop": PACE * factor, "measured": time.time() - 3600 * hours}))
    (pace,) = expected_paces([config], CPU, trials=True)
    assert pace and pace.tried
    assert pace.seconds == PACE * (factor if made == 1 else min(factor, 1.0))
    assert len(trials) == made
    if made == 2:
        assert json.loads(file.read_text())["measured"] > time.time() - 60


def test_a_trial_that_fails_leaves_what_was_known(tmp_path, trials, cache, monkeypatch):
    expected_seconds([config_of(tmp_path)], CPU, trials=True)
    (file,) = cache.iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"measured": 0.0}))
    monkeypatch.setattr(trial, "trial_pace", lambda *_: 1 / 0)
    (pace,) = expected_paces([config_of(tmp_path)], CPU, trials=True)
    assert pace and pace.seconds == PACE


def test_a_real_sweep_makes_no_trials(tmp_path, trials):
    assert expected_seconds([config_of(tmp_path)], CPU) == [None]
    assert trials == []


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "{}", '{"seconds_per_flop": 1e-20}'),
        '{"measured": 1e9, "seconds_per_flop": "fast"}',
        '{"measured": 1e9, "seconds_per_flop": -1.0}',
    ],
)
def test_a_damaged_cache_is_made_anew(tmp_path, trials, cache, content):
    expected_seconds([config_of(tmp_path)], CPU, trials=True)
    (file,) = cache.iterdir()
    file.write_text(content)
    assert expected_seconds([config_of(tmp_path)], CPU, trials=True) != [None]
    assert len(trials) == 2
    assert json.loads(file.read_text())["seconds_per_flop"] == PACE


def test_another_torch_is_tried_again(tmp_path, trials, monkeypatch):
    expected_seconds([config_of(tmp_path)], CPU, trials=True)
    monkeypatch.setattr("torch.__version__", "99.0")
    expected_seconds([config_of(tmp_path)], CPU, trials=True)
    assert len(trials) == 2


def test_a_cache_that_cannot_be_written_is_none(tmp_path, trials, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert expected_seconds([config_of(tmp_path)], CPU, trials=True) != [None]


def test_a_trial_that_fails_leaves_the_time_unknown(tmp_path, monkeypatch):
    def fail(*_: object) -> float:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(trial, "trial_pace", fail)
    assert expected_seconds([config_of(tmp_path)], CPU, trials=True) == [None]


def test_trials_end_when_their_time_is_up(tmp_path, trials, monkeypatch):
    monkeypatch.setattr(module, "TRIALS_S", 0.0)
    assert expected_seconds([config_of(tmp_path)], CPU, trials=True) == [None]
