"""A short trial tells how fast the trainer is here."""

import subprocess
import sys
import time

import pytest
import torch

from spfde_exp.config import compose
from spfde_exp.launch import trial as module
from spfde_exp.launch.trial import ENOUGH_S, LEAST, STEP_S, WALL_S, _fastest, trial_pace
from spfde_exp.machine import usable_cores
from spfde_exp.plan import make_plan
from spfde_exp.train.device import exact
from spfde_exp.train.trainer import Trainer


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
@pytest.mark.parametrize("busy", [1.0, 10.0])
def test_it_grows_to_the_runs_batch_and_stays_short(monkeypatch, per_example_s, per_step_s, busy):
    """On a machine that takes so long for a step and for an example, and is so busy with others."""
    seen, spent = [], 0.0

    def fastest(config, batch, device, left):
        nonlocal spent
        seen.append(batch)
        seconds = per_step_s + batch * per_example_s
        took = max((LEAST - 1) * busy * seconds, min(left, ENOUGH_S if batch > 4 else 0.0))
        spent += took
        return module._Step(seconds, busy * seconds, took, seconds / batch)

    monkeypatch.setattr(module, "_fastest", fastest)
    pace = trial_pace(compose(["optim.batch_size=64"]), 1)
    assert max(seen) <= 64
    assert spent < max(WALL_S, (LEAST - 1) * busy * (per_step_s + 4 * per_example_s)) + ENOUGH_S
    if 64 * per_example_s * busy < STEP_S / 2:
        assert seen[-1] == 64
        assert pace == pytest.approx(per_example_s + per_step_s / 64)


def test_other_processes_do_not_make_it_slower():
    """The same pace where others take most of the processor's time, give or take what they take of its caches."""
    config = compose([])
    with exact(1, "fp32"):
        alone = _fastest(config, 32, torch.device("cpu"), 0.3)
        burn = [sys.executable, "-c", "while True: pass"]
        others = [subprocess.Popen(burn) for _ in range(3 * usable_cores())]
        try:
            time.sleep(0.5)
            busy = _fastest(config, 32, torch.device("cpu"), 0.3)
        finally:
            for other in others:
                other.kill()
                other.wait()
    assert busy.seconds < 2.5 * alone.seconds
    assert busy.spent < 10 * WALL_S


def test_a_slow_step_ends_the_trial_of_its_size(monkeypatch):
    """Between two steps it looks at the time that is left."""
    steps = []
    step = Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", lambda *args: (time.sleep(0.1), step(*args), steps.append(1))[1])
    found = _fastest(compose([]), 32, torch.device("cpu"), 0.0)
    assert len(steps) == LEAST
    assert 0.2 < found.spent < WALL_S
    assert found.wall > 0.1 > found.seconds  # it did not work while it slept


def test_the_trial_foretells_a_real_run(tmp_path):
    """Roughly, in CPU time: the machine that runs the tests may be busy with others."""
    from spfde_exp.run import train

    config = compose(["epochs=4", "freeze=none", "logger=none", f"runs_dir={tmp_path}", "threads=1"])
    start = time.process_time()
    train(config)
    took = time.process_time() - start
    expected = trial_pace(config, 1) * make_plan(config).prediction()["train_flops_simulated"]
    assert took / 3 < expected < took * 3
