"""One owner per run, on one host or on several; the dead are taken over, and find out if they were not dead."""

import multiprocessing
import os
import socket
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spfde_exp.claim import STALE_S, Claim, Taken, slurm_job
from spfde_exp.errors import UserError
from spfde_exp.locks import FileLock


@pytest.fixture
def hosts(monkeypatch):
    """Pretend to be on another host, on a file system where locks are known to one host only."""
    monkeypatch.setattr(FileLock, "take", lambda self, shared=False: True)

    def be(name: str) -> None:
        monkeypatch.setattr(socket, "gethostname", lambda: name)

    return be


def age(folder, seconds: float) -> None:
    for path in folder.glob(".owner.*"):
        os.utime(path, (time.time() - seconds,) * 2)


def test_one_host(tmp_path):
    one, other = Claim(tmp_path), Claim(tmp_path)
    one.take()
    assert one.held()
    with pytest.raises(Taken, match=f"trained by process {os.getpid()} on {socket.gethostname()}; wait for it"):
        other.take()
    one.release()
    assert not one.held()
    other.take()
    assert other.held()


def test_another_host_is_respected_while_it_gives_signs_of_life(tmp_path, hosts):
    hosts("a")
    one = Claim(tmp_path)
    one.take()
    age(tmp_path, STALE_S - 10)
    hosts("b")
    with pytest.raises(Taken, match="on a"):
        Claim(tmp_path).take()
    with pytest.raises(Taken, match="on a"):
        Claim(tmp_path).lock()
    age(tmp_path, STALE_S + 10)
    one.beat()
    with pytest.raises(Taken):
        Claim(tmp_path).take()


def test_the_dead_are_taken_over_and_find_out_if_they_live(tmp_path, hosts):
    hosts("a")
    one = Claim(tmp_path)
    one.take()
    age(tmp_path, STALE_S + 10)
    hosts("b")
    other = Claim(tmp_path)
    other.take()
    assert other.held()
    assert not one.held()
    one.beat()
    one.release()  # does not disturb the new owner
    assert other.held()
    hosts("c")
    with pytest.raises(Taken, match="on b"):
        Claim(tmp_path).take()
    other.release()
    Claim(tmp_path).take()


def test_a_clock_that_is_wrong_kills_nobody(tmp_path, hosts, monkeypatch):
    hosts("a")
    Claim(tmp_path).take()
    hosts("b")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    with pytest.raises(Taken):
        Claim(tmp_path).take()


def test_a_slurm_job_that_was_requeued_goes_on_at_once(tmp_path, hosts, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert slurm_job() == "12_3"
    hosts("a")
    one = Claim(tmp_path)
    one.take()
    hosts("b")
    other = Claim(tmp_path)
    other.take()
    assert (one.held(), other.held()) == (False, True)


def test_without_locks_it_is_refused(tmp_path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(UserError, match=r"cannot be locked .*choose a runs_dir"):
        Claim(tmp_path).take()


def test_a_removed_folder_is_owned_by_nobody(tmp_path):
    folder = tmp_path / "run"
    one = Claim(folder)
    one.take()
    folder.rename(tmp_path / "elsewhere")
    assert not one.held()


def contend(folder, name, start, winners) -> None:
    socket.gethostname = lambda: name
    FileLock.take = lambda self, shared=False: True  # type: ignore[method-assign]
    start.wait()
    claim = Claim(folder)
    try:
        claim.take()
    except Taken:
        return
    winners.put(name)
    time.sleep(0.5)
    assert claim.held()


@pytest.mark.slow
def test_of_many_hosts_at_the_same_moment_one_wins(tmp_path):
    context = multiprocessing.get_context("fork")
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        start, winners = context.Barrier(8), context.Queue()
        hosts = [context.Process(target=contend, args=(folder, f"h{k}", start, winners)) for k in range(8)]
        for host in hosts:
            host.start()
        for host in hosts:
            host.join()
        assert [host.exitcode for host in hosts] == [0] * 8
        assert winners.get()
        assert winners.empty()


class ManyHosts(RuleBasedStateMachine):
    """Three hosts that claim, let go, fall silent and come back, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(FileLock, "take", lambda self, shared=False: True)
        import tempfile
        from pathlib import Path

        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.claims = {name: Claim(self.folder) for name in "abc"}

    def teardown(self) -> None:
        self.patch.undo()
        self.temporary.cleanup()

    @rule(name=st.sampled_from("abc"))
    def take(self, name):
        holders = [other for other, claim in self.claims.items() if claim.held()]
        if name in holders:
            return
        self.patch.setattr(socket, "gethostname", lambda: name)
        fresh = holders and self.age() < STALE_S
        try:
            self.claims[name].take()
        except Taken:
            assert fresh
        else:
            assert not fresh

    @rule(name=st.sampled_from("abc"))
    def release(self, name):
        self.claims[name].release()

    @rule(name=st.sampled_from("abc"))
    def beat(self, name):
        self.claims[name].beat()

    @precondition(lambda self: any(self.folder.glob(".owner.*")))
    @rule()
    def silence(self):
        age(self.folder, STALE_S + 10)

    def age(self) -> float:
        return time.time() - max(path.stat().st_mtime for path in self.folder.glob(".owner.*"))

    @invariant()
    def one_owner(self):
        assert sum(claim.held() for claim in self.claims.values()) <= 1
        assert len(list(self.folder.glob(".owner*"))) <= 1


ManyHosts.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestManyHosts = ManyHosts.TestCase
