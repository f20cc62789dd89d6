"""The plan of a sweep: every run once, with its state and cost; sums that agree with the single runs."""

import json
import re
import sys
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pytest

from spfde_exp import cli
from spfde_exp.config import compose, signature
from spfde_exp.jobs import Unavailable, settings, sweep_files
from spfde_exp.launch import trial
from spfde_exp.launch.dryrun import MOST_ROWS, dry_run
from spfde_exp.launch.slots import Slot
from spfde_exp.launch.sweepfile import expand, load_sweep
from spfde_exp.options import accept_numbers
from spfde_exp.plan import make_plan
from spfde_exp.schema import Config
from spfde_exp.store import RunFolder

PACE = 1e-11
TRIED = "(times from a short trial)"


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine of known speed, with an empty runs folder."""
    accept_numbers()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trial, "trial_pace", lambda *_: PACE)


def slots(count: int):
    return lambda configs: [Slot(None, 1, (f"cpu-{number}",)) for number in range(min(count, len(configs)))]


@cache
def composed(*overrides: str) -> Config:
    """Without a seed: Hydra takes its time."""
    return compose(list(overrides))


def job(*overrides: str, missing: tuple[str, ...] = ()):
    plain = [override for override in overrides if not override.startswith(("+sweep=", "seed="))]
    seeds = [int(override[5:]) for override in overrides if override.startswith("seed=")]
    return list(overrides), Unavailable(missing) if missing else replace(composed(*plain), seed=sum(seeds))


@pytest.fixture
def printed(capsys):
    def call(jobs, count: int = 2) -> str:
        dry_run(jobs, False, slots(count))
        return capsys.readouterr().out

    return call


@pytest.fixture
def objects(capsys):
    def call(jobs) -> list[dict]:
        dry_run(jobs, True, slots(2))
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return call


def cost(*overrides: str) -> dict:
    return make_plan(composed(*overrides)).prediction()


def test_what_is_silent_and_what_tells_runs_apart():
    overrides = ["recipe=digits", "seed=1", "logger.mode=online", "runs_dir=x", "+sweep=[A2,A10]", "dry_run=true"]
    assert settings(overrides) == ["recipe=digits", "seed=1"]
    assert sweep_files(overrides) == ["A2", "A10"]


def test_an_object_for_each_run_with_its_prediction(objects):
    found = objects([job("seed=0", "+sweep=[A8]"), job("seed=1"), job("seed=0", "+sweep=[A9]", "logger=none")])
    assert [run["overrides"] for run in found] == [["seed=0"], ["seed=1"]]
    assert [run["sweeps"] for run in found] == [["A8", "A9"], []]
    for run, seed in zip(found, (0, 1), strict=True):
        expected = cost()
        assert {key: run[key] for key in expected} == expected
        assert run["signature"] == signature(compose([f"seed={seed}"]))
        assert run["state"] == "new"
        assert run["estimated_time_s"] == pytest.approx(PACE * expected["train_flops_simulated"])
        assert max(run["frozen_blocks"]) == 4


def test_what_is_not_available_is_an_object_too(objects):
    (found,) = objects([job("method=snip", "seed=2", "+sweep=[A6]", missing=("method=snip",))])
    assert found == {
        "signature": None,
        "state": "not available",
        "overrides": ["method=snip", "seed=2"],
        "sweeps": ["A6"],
        "missing": ["method=snip"],
    }


def test_a_few_runs_are_a_table(printed):
    text = printed(
        [job("freeze=0.2"), job("freeze=none", "sparsity=0.8"), job("method=snip", missing=("method=snip",))]
    )
    assert text.startswith("3 runs: 2 new, 1 not available")
    assert re.search(r"│ freeze=0\.2 +│ new .* 5/6 blocks from 40 ", text)
    assert re.search(r"│ freeze=none sparsity=0\.8 +│ new .* nothing ", text)
    assert re.search(r"│ method=snip +│ not available: method=snip ", text)
    assert "not available: method=snip (1 cell)" in text
    assert text.rstrip().endswith("nothing was started")


def test_when_nothing_is_available_that_is_told(printed):
    text = printed([job(f"method={name}", missing=(f"method={name}",)) for name in ("snip", "lth")])
    assert text.startswith("2 runs: 2 not available")
    assert "not available: method=snip (1 cell), method=lth (1 cell)\nnothing was started" in text


def test_states_come_from_the_run_folders(printed):
    jobs = [job(f"seed={seed}") for seed in range(4)]
    for (_, config), state in zip(jobs[1:], ("done", "failed", "running"), strict=True):
        folder = RunFolder.of(config)
        folder.path.mkdir(parents=True)
        folder.set_status(state)
    RunFolder.of(jobs[1][1]).write_json("summary", {})
    text = printed(jobs)
    assert text.startswith("4 runs: 1 new, 1 stale, 1 failed, 1 done")
    one = cost()["train_flops"]
    assert f"to train: 3 runs, {3 * one:.4g} FLOPs" in text
    assert f"all 4 runs: {4 * one:.4g} FLOPs" in text


def test_when_all_is_done_nothing_is_tried(printed, monkeypatch):
    monkeypatch.setattr(trial, "trial_pace", lambda *_: pytest.fail("a trial"))
    done = job("seed=0")
    RunFolder.of(done[1]).path.mkdir(parents=True)
    RunFolder.of(done[1]).write_json("summary", {})
    assert "nothing to train; all 1 run: " in printed([done])


def test_force_trains_what_is_done_again(printed):
    done = job("seed=0", "force=true")
    RunFolder.of(done[1]).path.mkdir(parents=True)
    RunFolder.of(done[1]).write_json("summary", {})
    assert "to train: 1 run, " in printed([done])


def test_a_sweep_takes_as_long_as_its_slots_need(printed):
    """Two slots: the longest run on one, the two shorter on the other."""
    plain = ["sieve=none", "freeze=none", "sparsity=0.9"]
    jobs = [job(*plain, f"epochs={epochs}", "dst.every=1") for epochs in (20, 20, 50)]
    jobs[1] = job(*plain, "epochs=20", "dst.every=1", "seed=1")
    per_epoch = PACE * cost(*plain, "epochs=20", "dst.every=1")["train_flops_simulated"] / 20
    text = printed(jobs, count=2)
    assert f"training time {90 * per_epoch:.1f} s {TRIED}; {50 * per_epoch:.1f} s on 2 slots, longest first" in text
    assert f"; {90 * per_epoch:.1f} s on 1 slot, longest first" in printed(jobs, count=1)


def left(config: Config, epochs: int) -> RunFolder:
    """A run that nobody trains any more, after so many epochs."""
    folder = RunFolder.of(config)
    folder.path.mkdir(parents=True)
    folder.set_status("running")
    for epoch in range(epochs):
        folder.append_metrics({"epoch": epoch})
    folder.file("checkpoint.pt").touch()
    return folder


def test_of_a_half_trained_run_only_what_is_left_counts(printed, objects):
    """Where blocks freeze and masks grow sparser, the second half is the cheaper one."""
    begun = job("freeze=0.2")
    plan = make_plan(begun[1])
    half = plan.epochs // 2
    left(begun[1], half)
    rest = sum(plan.epoch_flops(epoch) for epoch in range(half, plan.epochs))
    assert 0 < rest < plan.prediction()["train_flops"] / 2
    (found,) = objects([begun])
    assert (found["state"], found["epochs_done"], found["train_flops_left"]) == ("stale", half, rest)
    assert found["train_flops"] == plan.prediction()["train_flops"]
    whole = PACE * plan.prediction()["train_flops_simulated"]
    assert 0.3 * whole < found["estimated_time_s"] < 0.5 * whole
    text = printed([begun])
    assert f"│ stale at {half}/{plan.epochs} │" in text
    assert f"to train: 1 run, {rest:.4g} FLOPs left, " in text


def test_times_of_past_runs_and_of_trials_are_told_apart(printed):
    done, new, other = job("seed=1"), job("seed=0"), job("model=resnet20")
    folder = left(done[1], 0)
    folder.write_config(asdict(done[1]))
    folder.write_json("meta", {"device_name": "cpu", "threads": 1})
    folder.write_json("summary", {"train_time_s": 1.0, "train_flops_simulated": 10**9})
    assert "(times from past runs)" in printed([new])
    assert TRIED in printed([other])
    assert "(times from past runs and a short trial)" in printed([new, other])


def test_where_slots_are_not_known_neither_is_the_time(capsys):
    dry_run([job("seed=0")], False, lambda configs: [])
    assert ", training time unknown\n" in capsys.readouterr().out


def test_cells_of_several_sweeps_are_counted_once(printed):
    names = ("A8", "A10")
    text = printed([job(*words) for words in expand([f"+sweep={','.join(names)}", "seed=0,1"], None)])
    cells = [{**load_sweep(name).base, **cell} for name in names for cell in load_sweep(name).cells]
    unique = {signature(composed(*words)): words for words in ([f"{k}={v}" for k, v in c.items()] for c in cells)}
    assert (len(cells), len(unique)) == (24, 22)  # A10 has two cells without sieving that A8 has too
    assert text.startswith("44 runs: 44 new")
    assert "A8 18 cells, A10 6: 22 cells, 2 of them in several sweeps and counted once" in text
    assert f"to train: 44 runs, {sum(2 * cost(*words)['train_flops'] for words in unique.values()):.4g} FLOPs" in text


def rows(text: str) -> dict[str, list[str]]:
    lines = [line.strip("│").split("│") for line in text.splitlines() if line.startswith("│")]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines}


def test_many_runs_are_summed_up(printed):
    overrides = ["freeze=none,0.1", "sieve=none,0.2", "method=mest_ems,static", f"seed=range({MOST_ROWS})"]
    jobs = [job(*words) for words in expand(overrides, None)]
    jobs += [job("method=snip", f"seed={seed}", "+sweep=[A6]", missing=("method=snip",)) for seed in (0, 1)]
    text = printed(jobs)
    assert len(text.splitlines()) < MOST_ROWS
    table = rows(text)
    assert text.startswith("322 runs: 320 new, 2 not available")
    assert table["all"][:3] == ["322", "320", "2"]
    assert table["freeze=0.1"][:3] == ["160", "160", ""]
    assert table["freeze=(default)"][:3] == ["2", "", "2"]
    assert table["sweep A6"] == table["method=snip"] == ["2", "", "2", "", "", ""]
    assert "seed: 40 values" in table
    static = sum(
        MOST_ROWS * cost("method=static", f"freeze={freeze}", f"sieve={sieve}")["train_flops"]
        for freeze in ("none", "0.1")
        for sieve in ("none", "0.2")
    )
    assert table["method=static"][3] == f"{static:.4g}"


def test_a_table_that_needs_plans_only_is_not_trained(printed, objects, monkeypatch):
    plans = [job(*words) for words in expand(["+sweep=F4", "recipe=digits", "dry_run=true"], None)[:2]]
    text = printed([*plans, job("seed=7", "+sweep=[A8]")])
    assert "to train: 1 run, " in text
    assert "\nF4 needs plans only: nothing is trained for it\n" in text
    shared = [*plans[0][0][:-1], "+sweep=[A8,F4]"], plans[0][1]
    assert "plans only" not in printed([shared])
    monkeypatch.setattr(trial, "trial_pace", lambda *_: pytest.fail("a trial"))
    text = printed(plans)
    assert "nothing to train; all 2 runs: " in text
    assert text.endswith("F4 needs plans only: nothing is trained for it\nnothing was started\n")
    assert all(run["train_flops_left"] == 0 for run in objects(plans))


def test_runs_of_one_sweep_file_have_the_numbers_of_their_cells(printed, objects):
    asked = ["+sweep=A8", "recipe=digits", "seed=0,1"]
    jobs = [job(*words) for words in expand([*asked, "+cell=4,11"], None)]
    assert [run["cell"] for run in objects(jobs)] == [4, 4, 11, 11]
    assert [row[0] for row in rows(printed(jobs)).values()] == ["4", "4", "11", "11"]
    assert "cell" not in objects([job("seed=0")])[0]
    both = [job(*words) for words in expand(["+sweep=A8,A9", "recipe=digits", "seed=0"], None)]
    assert all("cell" not in run for run in objects(both))
    table = rows(printed([job(*words) for words in expand([*asked[:2], "seed=0,1,2"], None)]))
    assert table["cell 4: sparsity=0.6 freeze=0.2"][:2] == ["3", "3"]
    assert sum(name.startswith("cell ") for name in table) == 18


def test_a_run_that_two_files_spell_differently_is_in_the_rows_of_both(printed):
    """Table 2's runs do not name the update ratio, which is 30 % by default; those of Table A2 do."""
    asked = expand(["+sweep=T2,A2", "recipe=digits", "seed=0,1,2"], None)
    jobs = [job(*words) for words in asked if "method=mest_ems" in words and "sieve=none" not in words]
    ratios = [signature(replace(config, seed=0)) for _, config in jobs if config.sieve.update_ratio == 0.3]
    table = rows(printed(jobs))
    assert table["sieve.update_ratio=0.3"][0] == str(3 * len(set(ratios)))
    assert table["sieve.update_ratio=0.1"][0] == "9"
    assert "sieve.update_ratio=(default)" not in table


def test_nothing_is_written_but_the_cache(printed, tmp_path: Path):
    printed([job("seed=0")])
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_the_command_plans_the_union_of_sweep_files(monkeypatch, capsys):
    """One seed of five tables: all cells by name, those that exist with their cost."""
    monkeypatch.setattr(sys, "argv", ["spfde-exp", "-m", "+sweep=A1,A2,A6,A8,A9", "seed=0", "dry_run=json"])
    cli.main()
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    planned = [run for run in found if run["state"] == "new"]
    assert len({run["signature"] for run in planned}) == len(planned)
    for name in ("A1", "A2", "A6", "A8", "A9"):
        assert sum(name in run["sweeps"] for run in found) == len(load_sweep(name).cells)
    for run in planned[::20]:
        assert run["signature"] == signature(compose(run["overrides"]))
        assert run["train_flops"] == cost(*run["overrides"])["train_flops"]
    missing = [run for run in found if run["state"] == "not available"]
    assert all(set(run["missing"]) <= set(run["overrides"]) for run in missing)
    assert len(planned) + len(missing) == len(found)
