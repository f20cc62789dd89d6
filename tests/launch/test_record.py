"""A sweep's record tells what was submitted, by which command, with which code."""

import json
import shlex
import sys

from spfde_exp.launch import record as module
from spfde_exp.launch.record import SweepRecord, code_changed
from spfde_exp.locks import is_locked
from spfde_exp.provenance import code_diff, code_digest, code_version


def test_it_holds_command_runs_and_code(tmp_path):
    record = SweepRecord.write(tmp_path, "local", {"0123": "seed=0", "4567": "seed=1"})
    content = json.loads((record.path / "sweep.json").read_text())
    assert record.path == tmp_path / ".sweeps" / content["id"]
    assert content["runs"] == {"0123": "seed=0", "4567": "seed=1"}
    assert content["code"]["commit"] == code_version()["commit"]
    assert content["code"]["digest"] == code_digest()
    assert (record.path / "code.diff").read_text() == code_diff()
    assert content["command"] == shlex.join(sys.argv)


def test_its_lifeline_is_held_until_it_lets_go(tmp_path):
    record = SweepRecord.write(tmp_path, "local", {})
    assert is_locked(record.lifeline)
    record.touch()
    record.let_go()
    assert record.lifeline.exists()
    assert not is_locked(record.lifeline)
    record.close()
    assert not record.lifeline.exists()


def test_two_sweeps_at_the_same_moment_have_two_records(tmp_path):
    assert len({SweepRecord.write(tmp_path, "local", {}).id for _ in range(20)}) == 20


def test_other_code_than_submitted_is_told(tmp_path, monkeypatch):
    record = SweepRecord.write(tmp_path, "local", {})
    assert code_changed(tmp_path, record.id) is None
    assert code_changed(tmp_path, None) is None
    monkeypatch.setattr(module, "code_digest", lambda: "another")
    told = code_changed(tmp_path, record.id)
    assert told is not None
    assert f"the code has changed since sweep {record.id} was submitted" in told
