"""Answers kept from one command to the next: never trusted when anything that decides them has changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import analysis.kept as module
from analysis.composing import composed
from analysis.kept import Kept, state_of_code


def never():
    raise AssertionError("asked again")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file of the answers of kind ``test``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "spfde_exp" / "analysis-test.json"


def keep(**answers):
    kept = Kept("test")
    for key, value in answers.items():
        kept.get(key, lambda value=value: value)
    kept.save()


def test_an_answer_is_asked_for_once_and_the_next_command_knows_it(file):
    first = Kept("test")
    assert first.get("a", lambda: {"x": [1, 2.5, None, "é"]}) == first.get("a", never)
    first.save()
    assert Kept("test").get("a", never) == {"x": [1, 2.5, None, "é"]}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_nothing_new_writes_nothing(file):
    keep(a=1)
    before = file.stat().st_mtime_ns, file.stat().st_ino
    keep(a=1)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


@pytest.mark.parametrize("value", [(1, 2), {1: "a"}, float("nan"), {"x": {3}}, object()])
def test_what_json_has_not_is_not_kept(file, value):
    keep(a=value, b=1)
    assert list(json.loads(file.read_text())["answers"]) == ["b"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"code": "x"}', '{"answers": {"a": 2}}', "\x00"])
def test_a_damaged_or_foreign_file_is_none(file, content):
    keep(a=1)
    file.write_text(content)
    assert Kept("test").get("a", lambda: 3) == 3


def test_answers_of_other_code_are_dropped(file, monkeypatch):
    keep(a=1)
    monkeypatch.setattr(module, "state_of_code", lambda: "other")
    keep(b=2)
    assert json.loads(file.read_text()) == {"code": "other", "answers": {"b": 2}}


def test_a_cache_that_cannot_be_written_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep(a=1)


def test_a_full_file_keeps_what_was_asked_for_last(file, monkeypatch):
    keep(a=1, b=2)
    monkeypatch.setattr(module, "LIMIT", 2)
    kept = Kept("test")
    kept.get("b", never)
    kept.get("c", lambda: 3)
    kept.save()
    assert json.loads(file.read_text())["answers"] == {"b": 2, "c": 3}


def test_the_state_of_the_code_is_of_every_file_and_variable_that_decides(tmp_path, monkeypatch):
    (tmp_path / "dataset").mkdir()
    option = tmp_path / "dataset" / "own.yaml"
    option.write_text("root: ${oc.env:SPFDE_DATA,data}\n")
    monkeypatch.setattr(module, "folder", lambda name: tmp_path)
    monkeypatch.delenv("SPFDE_DATA", raising=False)
    states = [state_of_code.__wrapped__()]
    monkeypatch.setenv("SPFDE_DATA", "/elsewhere")
    states.append(state_of_code.__wrapped__())
    option.write_text(option.read_text() + "image_size: 8\n")
    states.append(state_of_code.__wrapped__())
    option.rename(option.with_name("other.yaml"))
    states.append(state_of_code.__wrapped__())
    assert len(set(states)) == 4 and states[-1] == state_of_code.__wrapped__()


@pytest.mark.parametrize("recipe", ["digits", "cifar100", "imagenet", "mest_cifar10", "grasp_cifar100"])
def test_a_resolved_configuration_is_one_that_can_be_kept(recipe):
    tree = composed((f"recipe={recipe}", "method=mest_ems", "sieve=two_phase", "freeze=periodic"))
    assert json.loads(json.dumps(tree)) == tree


@pytest.mark.parametrize(
    ("words", "shows"), [("'A4'", "| 80 "), ("'A5', 'recipe=digits', 'freeze.t_freeze=70'", "is out of reach")]
)
def test_answers_are_the_same_from_the_kept_ones_and_need_no_torch_then(tmp_path, words, shows):
    """Of a table, and of plans that are impossible."""
    code = (
        "import sys; from analysis.__main__ import run; from spfde_exp.errors import UserError\n"
        f"try: run([{words}])\nexcept UserError as error: print(error)\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    first, second = (
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True) for _ in range(2)
    )
    assert first.stdout == second.stdout and shows in first.stdout
    assert (first.stderr, second.stderr) == ("True\n", "False\n")
    kept = {path.name for path in (tmp_path / "spfde_exp").iterdir()}
    assert kept == {"analysis-compositions.json", "analysis-plans.json"}


def test_what_failed_half_way_keeps_what_it_knew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_kept", {})
    with pytest.raises(RuntimeError), module.keeping():
        module.kept("test").get("a", lambda: 1)
        raise RuntimeError
    assert Kept("test").get("a", never) == 1
