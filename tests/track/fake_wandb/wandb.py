"""Stands in for wandb in a child process: writes each call as a JSON line to $FAKE_WANDB_CALLS.

$FAKE_WANDB names where it fails or hangs. As on a real server, a run that is resumed goes on behind the last
step that was logged before.
"""

import json
import os
import subprocess
import time
from pathlib import Path
from types import MappingProxyType

_CALLS = Path(os.environ["FAKE_WANDB_CALLS"])
_FAULT = os.environ.get("FAKE_WANDB", "")


def _record(call, **values):
    with _CALLS.open("a") as file:
        file.write(json.dumps({"call": call, "pid": os.getpid(), **values}) + "\n")


def _hang():
    helper = subprocess.Popen(["sleep", "300"])
    _record("hang", helper=helper.pid)
    time.sleep(300)


class Settings:
    model_fields = MappingProxyType({"console": None})

    def __init__(self, **values):
        assert set(values) <= set(self.model_fields), "the real Settings refuses unknown fields"


class _Summary:
    def update(self, values):
        _record("summary", values=values)


class _Run:
    def __init__(self, *, resume, **kwargs):
        logged = [json.loads(line) for line in _CALLS.read_text().splitlines()] if _CALLS.exists() else []
        steps = [call["step"] for call in logged if call["call"] == "log"]
        self.resumed = resume == "allow" and bool(steps)
        self.step = max(steps) + 1 if self.resumed else 0
        self.summary = _Summary()

    def log(self, values, *, step, commit):
        _record("log", values=values, step=step)

    def finish(self, *, exit_code):
        if _FAULT == "hang_finish":
            _hang()
        _record("finish", exit_code=exit_code)


def init(**kwargs):
    if _FAULT == "raise_init":
        raise RuntimeError("the server said no")
    if _FAULT == "hang_init":
        _hang()
    _record("init", id=kwargs["id"], mode=kwargs["mode"], nice=os.nice(0), config=kwargs["config"])
    return _Run(**kwargs)
