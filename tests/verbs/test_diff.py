"""Two runs side by side."""

import json
from dataclasses import asdict

import pytest

from spfde_exp.config import compose
from spfde_exp.errors import UserError


@pytest.fixture
def pair(make_run):
    """Make two runs, of the given overrides; the second is done."""

    def make(one, two):
        make_run("aaaa", "failed", config=asdict(compose(["debug=tiny", *one])))
        make_run("bbbb", "done", config=asdict(compose(["debug=tiny", *two])))

    return make


def answer(call, capsys, *words):
    call("diff", *words, "--json")
    return json.loads(capsys.readouterr().out)


def test_only_what_differs_is_named_with_both_values(pair, call, capsys):
    pair(["sparsity=0.9"], ["sparsity=0.95", "seed=3", "threads=2"])
    told = answer(call, capsys, "a", "b")
    assert told["settings"]["sparsity.target"] == [0.9, 0.95]
    assert told["settings"]["seed"] == [0, 3]
    assert "epochs" not in told["settings"]
    assert told["others"] == {"threads": ["auto", 2]}
    assert told["states"] == ["failed", "done"]
    assert told["results"] == {"test_acc": [None, 52.0]}


@pytest.mark.parametrize(
    ("two", "verdict"),
    [
        (["seed=1"], "they differ in nothing but seed"),
        (["threads=2"], "they differ in no setting that decides the result"),
        (["seed=1", "sieve=0.3"], "they differ in 2 settings"),
    ],
)
def test_the_verdict(pair, call, capsys, two, verdict):
    pair([], two)
    call("diff", "aaaa", "bbbb")
    assert capsys.readouterr().out.splitlines()[0] == verdict


def test_the_tables(pair, call, capsys):
    pair([], ["seed=1"])
    call("diff", "aaaa", "bbbb")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["seed", "0", "1"] in rows
    assert ["test accuracy", "", "52.00 %"] in rows
    assert ["state", "failed", "done"] in rows


def test_a_key_that_came_later_is_no_difference_at_its_neutral_value(pair, call, capsys, tmp_path):
    pair([], ["seed=1"])
    file = tmp_path / "aaaa" / "config.yaml"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "test_subset" not in line))
    told = answer(call, capsys, "a", "b")
    assert "dataset.test_subset" not in told["settings"] | told["others"]


def test_a_run_and_itself(make_run, call, capsys):
    make_run("aaaa")
    call("diff", "a", "aaaa")
    assert capsys.readouterr().out.startswith("both are the same run")


def test_a_run_without_configuration_is_told(make_run, call):
    make_run("aaaa")
    make_run("bbbb").file("config.yaml").write_text("{")
    with pytest.raises(UserError, match=r"bbbb has no config\.yaml"):
        call("diff", "a", "b")
