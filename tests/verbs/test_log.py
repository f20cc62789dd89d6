"""What the job of a run wrote."""

import io
import os
import sys
import threading
import time

import pytest

from spfde_exp.errors import UserError
from spfde_exp.verbs import log


def write_log(folder, number, text):
    path = folder.file("submitit")
    path.mkdir(exist_ok=True)
    path = path / f"{number}_log.out"
    path.write_text(text)
    os.utime(path, (number, number))


@pytest.fixture
def folder(make_run):
    folder = make_run("aaaa1111", "failed")
    write_log(folder, 11, "first\n")
    write_log(folder, 9, "none yet\n")
    write_log(folder, 12, "newest\n")
    return folder


@pytest.mark.parametrize(
    ("words", "text"),
    [(["aaaa"], "newest\n"), (["aa", "--attempt", "1"], "none yet\n"), (["aa", "--attempt", "2"], "first\n")],
)
def test_the_newest_or_the_one_asked_for(folder, call, capfdbinary, words, text):
    call("log", *words)
    assert capfdbinary.readouterr().out.decode() == text


@pytest.mark.parametrize("number", ["0", "4"])
def test_a_job_that_there_was_not(folder, call, number):
    with pytest.raises(UserError, match="has jobs 1 to 3"):
        call("log", "aaaa", "--attempt", number)


def test_a_slurm_job_that_never_came_to_the_run_has_a_log_of_its_own(make_run, call, capfdbinary, tmp_path):
    folder = make_run("aaaa", "failed", sweep="s-1", slurm_job="12_3")
    job = tmp_path / ".sweeps" / "s-1" / "slurm" / "12_3_0_log.out"
    job.parent.mkdir(parents=True)
    job.write_text("no such module\n")
    call("log", "aaaa")
    assert capfdbinary.readouterr().out == b"no such module\n"
    write_log(folder, 12, "of the run\n")
    call("log", "aaaa")
    assert capfdbinary.readouterr().out == b"of the run\n"


@pytest.mark.parametrize(("state", "why"), [("pending", "it has not begun"), ("done", "its log was not kept")])
def test_no_log(make_run, call, state, why):
    make_run("aaaa", state)
    for more in ([], ["--attempt", "1"]):
        with pytest.raises(UserError, match=f"run aaaa is {state} and has no log: .*{why}"):
            call("log", "aaaa", *more)


def test_following_goes_on_to_the_next_attempt_and_until_the_end(make_run, call, monkeypatch):
    printed = io.BytesIO()  # not capfd: it forgets what comes while it is read
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, write_through=True))
    monkeypatch.setattr(log, "FOLLOW_S", 0.01)
    folder = make_run("aaaa", "pending")
    write_log(folder, 1, "one ")
    follower = threading.Thread(target=call, args=("log", "aaaa", "--follow"), daemon=True)

    def wait_for(text):
        end = time.monotonic() + 60
        while text not in printed.getvalue():
            assert follower.is_alive() and time.monotonic() < end
            time.sleep(0.01)

    with folder.owned():
        follower.start()
        wait_for(b"one ")
        with folder.file("submitit").joinpath("1_log.out").open("a") as file:
            file.write("two ")
        wait_for(b"two ")
        write_log(folder, 2**33, "three ")
        wait_for(b"three ")
        assert follower.is_alive()
        with folder.file("submitit").joinpath(f"{2**33}_log.out").open("a") as file:
            file.write("four")
        folder.write_json("summary", {"test_acc": 1.0})
    follower.join(30)
    assert not follower.is_alive()
    assert printed.getvalue() == b"one two three four"
