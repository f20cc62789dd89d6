"""Locks on files: one holder, or several that share; gone with the process."""

import multiprocessing
import os
import signal
import time

from spfde_exp.locks import FileLock, is_locked


def test_one_holder_at_a_time(tmp_path):
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")
    assert one.take()
    assert one.held
    assert is_locked(tmp_path / "lock")
    assert not other.take()
    assert not other.held
    one.release()
    one.release()
    assert other.take()


def test_several_share_and_keep_a_single_holder_out(tmp_path):
    locks = [FileLock(tmp_path / "lock") for _ in range(3)]
    assert locks[0].take(shared=True)
    assert locks[1].take(shared=True)
    assert not locks[2].take()
    locks[0].release()
    locks[1].release()
    assert locks[2].take()


def test_it_goes_with_its_process(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=keep, args=(tmp_path / "lock", ready))
    process.start()
    assert ready.wait(60)
    assert is_locked(tmp_path / "lock")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not is_locked(tmp_path / "lock")


def keep(path, ready) -> None:
    lock = FileLock(path)
    assert lock.take()
    ready.set()
    time.sleep(60)
