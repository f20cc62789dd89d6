"""All about one run."""

import json
from dataclasses import asdict

import pytest

from spfde_exp.config import compose
from spfde_exp.launch.inline import Inline
from spfde_exp.launch.sweep import run_sweep
from spfde_exp.plan import make_plan


def lines(text):
    return {line[:9].strip(): line[10:] for line in text.splitlines()}


@pytest.fixture
def trained(tmp_path, capsys):
    """A run of 12 epochs, trained; its summary and plan."""
    words = ["debug=tiny", "epochs=12", "logger=none", "threads=1", f"runs_dir={tmp_path}"]
    run_sweep([(words, compose(words))], Inline())
    capsys.readouterr()
    (path,) = tmp_path.glob("*/summary.json")
    return json.loads(path.read_text()), json.loads(path.with_name("plan.json").read_text())


def test_a_finished_run(trained, call, capsys):
    summary, plan = trained
    call("show", summary["signature"][:6])
    told = lines(capsys.readouterr().out)
    assert told["run"].startswith(f"{summary['signature']}  debug=tiny epochs=12")
    assert told["state"] == "done, epoch 12 of 12"
    assert told["trains"].endswith("on digits, 12 epochs, seed 0")
    assert told["accuracy"].startswith(f"{summary['test_acc']:.2f} %")
    assert told["executed"] == f"{summary['train_flops']:.4g} FLOPs"
    frozen = [block for block in plan["freeze"]["blocks"] if block["frozen"]]
    assert f"{len(frozen)} of {len(plan['freeze']['blocks'])} blocks from epoch" in told["freeze"]
    assert f"{plan['sieve']['removed']} of {plan['sieve']['examples']}" in told["sieve"]
    assert f"{100 * plan['prediction']['flops_reduction_total']:.1f} % saved" in told["FLOPs"]
    assert "torch" in told["code"]
    assert "1 threads" in told["trained"]


def test_json_has_everything(trained, call, capsys):
    summary, plan = trained
    call("show", summary["signature"], "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["summary"], told["plan"]) == ("done", summary, plan)
    assert told["config"]["sparsity.target"] == 0.9
    assert told["folder"].endswith(summary["signature"])


@pytest.fixture
def planned(make_run):
    """Make a run that was submitted, and never began."""

    def make(state, **status):
        folder = make_run("aaaa", state, 0, asdict(compose(["debug=tiny", "freeze=none", "sieve=0.2"])), **status)
        folder.file("meta.json").unlink()
        return folder

    return make


def test_a_run_that_has_not_begun_tells_what_is_known(planned, call, capsys):
    planned("pending", sweep="s-1", slurm_job="12_3")
    call("show", "aaaa")
    told = lines(capsys.readouterr().out)
    assert told["state"].startswith("pending, epoch 0 of ")
    assert told["freeze"] == "none"
    assert told["sieve"] == "circular, 0.2 of the examples left out"
    assert (told["sweep"], told["Slurm job"]) == ("s-1", "12_3")
    assert not {"FLOPs", "accuracy", "error", "code"} & told.keys()


def test_a_model_of_one_s_own_is_told_by_its_target(make_run, call, capsys):
    overrides = ["debug=tiny", "model=custom", "model.target=torchvision.models.alexnet"]
    make_run("aaaa", "pending", 0, asdict(compose(overrides))).file("meta.json").unlink()
    call("show", "aaaa")
    assert lines(capsys.readouterr().out)["trains"] == "torchvision.models.alexnet on digits, 8 epochs, seed 0"


@pytest.mark.parametrize(
    ("removal", "before", "planned", "after"),
    [
        ("sieve.threshold=1", "what was learned and forgotten at most 1 times", None, "60 of 200"),
        ("sieve.count=50", "50 examples", "50 of 200", "50 of 200"),
        ("sieve.ratio=0.25", "0.25 of the examples", "50 of 200", "50 of 200"),
    ],
)
def test_data_efficiency_is_told_as_far_as_it_is_known(make_run, call, capsys, removal, before, planned, after):
    config = compose(["debug=tiny", "freeze=none", "sieve=two_phase", removal])
    folder = make_run("aaaa", "failed", 0, asdict(config))
    folder.file("meta.json").unlink()
    plan = make_plan(config)
    realised = plan.realised([{"train_examples": 140}], plan.final_kept())
    told_at_last = plan.to_dict() | ({"realised": realised.to_dict()} if plan.unknown else {})
    for text, known in ((before, None), (planned or before, plan.to_dict()), (after, told_at_last)):
        if known:
            folder.write_json("plan", known)
        call("show", "aaaa")
        assert lines(capsys.readouterr().out)["sieve"] == f"two_phase, from epoch 4 without {text}"


def test_a_failure_and_the_attempts_before_it(planned, call, capsys):
    history = [
        {"attempt": 1, "host": "n0", "state": "pending", "failure": None},
        {"attempt": 2, "host": "n1", "state": "failed", "failure": "out_of_memory"},
    ]
    planned("failed", attempt=2, history=history, error="no room", failure="out_of_memory")
    call("show", "aaaa")
    told = lines(capsys.readouterr().out)
    assert told["error"] == "out_of_memory: no room"
    assert told["attempts"] == "2: 1 pending, 2 failed (out_of_memory)"
