"""Every reason to stop a run becomes one exception, which names it."""

import os
import signal
import time

import pytest

from spfde_exp.failure import CANCELLED, Stopped
from spfde_exp.launch import signals
from spfde_exp.launch.signals import StopWatch
from spfde_exp.locks import FileLock
from spfde_exp.store import CANCEL, RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def stopped(folder, cause, lifeline=None) -> Stopped:
    with pytest.raises(Stopped) as caught, StopWatch(folder, lifeline):
        cause()
        time.sleep(20)
    return caught.value


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped by SIGTERM")])
def test_a_signal(folder, number, reason):
    error = stopped(folder, lambda: os.kill(os.getpid(), number))
    assert (str(error), error.failure) == (reason, None)


def test_a_cancel_file(folder):
    error = stopped(folder, lambda: folder.file(CANCEL).touch())
    assert (str(error), error.failure) == ("cancelled by `runs cancel`", CANCELLED)


def test_a_sweep_that_is_gone(folder, tmp_path):
    lifeline = FileLock(tmp_path / "lifeline")
    lifeline.take()
    error = stopped(folder, lifeline.release, lifeline.path)
    assert (str(error), error.failure) == ("stopped, as its sweep is gone", None)


def test_a_second_signal_is_heard_only_if_the_first_was_lost(folder, monkeypatch):
    with StopWatch(folder):
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # while it puts its things in order
        monkeypatch.setattr(signals, "AGAIN_S", 0.0)  # long after
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)


def test_handlers_are_put_back(folder):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopWatch(folder):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
