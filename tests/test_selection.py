"""Which runs a verb acts on."""

import argparse
import json

import pytest

from spfde_exp.errors import UserError
from spfde_exp.progress import Reader
from spfde_exp.selection import Filters, add_filters, filters, find_runs, one_run, select


@pytest.fixture
def runs(make_run, tmp_path):
    make_run("aaaa1111", "done", config={"sweep": ["A8"], "sparsity": {"target": 0.9}, "method": {"name": "mest"}})
    make_run("aabb2222", "failed", config={"sweep": ["A8", "A9"], "sparsity": {"target": 0.95}}, sweep="s-1")
    make_run("cccc3333", "pending", config={"sparsity": {"target": 0.9}, "optim": {"lr": 1e-4}})
    (tmp_path / "foreign").mkdir()
    (tmp_path / ".sweeps" / "s-1").mkdir(parents=True)
    (tmp_path / ".removed" / "dddd-1").mkdir(parents=True)
    return tmp_path


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_filters(parser)
    return filters(parser.parse_intermixed_args(words))


def chosen(runs, *words):
    return [folder.signature for folder, _ in select(runs, parsed(*words), Reader())]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["aaaa1111", "aabb2222", "cccc3333"]),
        (["cc", "aaaa"], ["aaaa1111", "cccc3333"]),
        (["--state", "failed,pending"], ["aabb2222", "cccc3333"]),
        (["--sweep", "A8"], ["aaaa1111", "aabb2222"]),
        (["--sweep", "s-1"], ["aabb2222"]),
        (["--where", "sparsity.target=0.90"], ["aaaa1111", "cccc3333"]),
        (["--where", "sparsity.target=0.9", "method.name=mest"], ["aaaa1111"]),
        (["--where", "optim.lr=1e-4"], ["cccc3333"]),
        (["--where", "dataset.subset=null"], []),  # not known of these runs
        (["aa", "--state", "done"], None),
        (["aaaa", "--state", "failed"], []),
    ],
)
def test_filters_are_joined(runs, words, names):
    if names is None:
        with pytest.raises(UserError, match="beginning of 2 runs: aaaa1111, aabb2222"):
            chosen(runs, *words)
    else:
        assert chosen(runs, *words) == names


def test_a_sweep_record_also_has_runs_that_a_later_sweep_took(runs):
    (runs / ".sweeps" / "s-1" / "sweep.json").write_text(json.dumps({"runs": {"cccc3333": "seed=0"}}))
    assert chosen(runs, "--sweep", "s-1") == ["aabb2222", "cccc3333"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--state", "runing"], "--state runing is unknown; allowed: new, pending, running, stale, failed, done"),
        (["--sweep", "A99"], r"no such run .*; there are A8, A9, living, s-1"),
        (["--where", "method=mest"], r"did you mean method\.name"),
        (["--where", "sparsity.tarjet=1"], r"did you mean sparsity\.target"),
        (["--where", "aaaa"], "--where takes KEY=VALUE, not 'aaaa'"),
        (["--where", "seed=0", "hydra.launcher.slots=1"], "hydra.launcher.slots=1: .* options come before --where"),
        (["--where", "method.name=["], r"method\.name=\[: '\[' is no value"),
        ([""], "an empty signature names no run"),
        (["aaaa", ""], "an empty signature names no run"),
        (["zzzz"], "begins with 'zzzz'; there are aaaa1111, aabb2222, cccc3333"),
        (["aabc"], "begins with 'aabc'; there are aabb2222"),
    ],
)
def test_what_cannot_be_meant_is_told(runs, words, message):
    with pytest.raises(UserError, match=message):
        chosen(runs, *words)


def test_a_whole_signature_is_itself_even_where_another_begins_with_it(make_run, tmp_path):
    make_run("aaaa")
    make_run("aaaabbbb")
    assert one_run(tmp_path, "aaaa").signature == "aaaa"


def test_folders_that_are_no_runs_are_passed_over(runs):
    assert [folder.signature for folder in find_runs(runs)] == ["aaaa1111", "aabb2222", "cccc3333"]


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        find_runs(tmp_path / "absent")


def test_an_empty_folder_holds_no_runs(tmp_path):
    with pytest.raises(UserError, match="it holds no runs"):
        one_run(tmp_path, "a")


def test_filters_know_whether_they_ask_for_anything():
    assert not Filters()
    assert Filters(states=("failed",))
