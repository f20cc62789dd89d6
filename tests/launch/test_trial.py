"""A short trial tells how fast the trainer is here."""

import time

import pytest
import torch

from spfde_exp.config import compose
from spfde_exp.data.specs import SPECS
from spfde_exp.launch import trial as module
from spfde_exp.launch.trial import ENOUGH_S, STEP_S, trial_pace
from spfde_exp.plan import make_plan


@pytest.mark.parametrize("overrides", [[], ["sparsity=dense", "sieve=none", "optim.batch_size=2000", "precision=bf16"]])
def test_a_trial_takes_seconds_and_leaves_no_trace(overrides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    start = time.perf_counter()
    pace = trial_pace(compose([*overrides, "runs_dir=runs"]), 1)
    assert time.perf_counter() - start < 20  # one or two on a machine that does nothing else
    assert 1e-13 < pace < 1e-8
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("per_example_s", [1e-6, 1e-4, 3e-3, 0.05, 2.0])
@pytest.mark.parametrize("per_step_s", [1e-5, 5e-3])
def test_it_grows_to_the_runs_batch_and_stays_short(monkeypatch, per_example_s, per_step_s):
    """On a machine that takes so long for a step and for an example."""
    seen = []

    def epoch(config, batch, steps, device):
        seen.append((batch, steps))
        seconds = steps * (per_step_s + batch * per_example_s)
        return seconds, seconds / (batch * steps)

    monkeypatch.setattr(module, "_epoch", epoch)
    config = compose(["optim.batch_size=64"])
    pace = trial_pace(config, 1)
    batch, steps = seen[-1]
    assert batch <= 64 and batch * steps <= SPECS["digits"].train
    assert sum(n * (per_step_s + b * per_example_s) for b, n in seen) < 4 * max(ENOUGH_S, 2 * 4 * per_example_s)
    if 64 * per_example_s < STEP_S / 2:
        assert batch == 64
        assert pace == pytest.approx(per_example_s + per_step_s / 64)


def test_the_trial_foretells_a_real_run(tmp_path):
    """Roughly: the machine that runs the tests may be busy with others."""
    from spfde_exp.run import train
    from spfde_exp.store import RunFolder

    config = compose(["epochs=4", "freeze=none", "logger=none", f"runs_dir={tmp_path}", "threads=1"])
    train(config)
    took = (RunFolder.of(config).summary() or {})["train_time_s"]
    expected = trial_pace(config, 1) * make_plan(config).prediction()["train_flops_simulated"]
    assert took / 3 < expected < took * 3
