"""The online follower: rows while the run trains, none twice after a resume, an end in every case."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from spfde_exp.track.wandb_sink import WandbSink

ROOT = Path(__file__).resolve().parents[2]


def test_rows_arrive_live_and_the_summary_ends_it(folder, fake, make_row, alive, wait_until):
    sink = WandbSink(folder.path, "online", project="p", timeout_s=20)
    sink.start()
    for epoch in range(2):
        folder.append(epoch)
        assert wait_until(lambda epoch=epoch: fake.steps() == list(range(epoch + 1)))
    folder.append(2, 3)
    folder.summary()
    assert wait_until(lambda: fake.calls("finish"))
    assert sink.finish()
    assert [call["values"] for call in fake.calls("log")] == [make_row(epoch) for epoch in range(4)]
    assert [call["exit_code"] for call in fake.calls("finish")] == [0]
    (init,) = fake.calls("init")
    assert init["mode"] == "online"
    assert init["nice"] > os.nice(0)
    assert not alive(init["pid"])


def test_a_resumed_run_sends_what_the_server_lacks(folder, fake, make_row, wait_until):
    folder.append(0, 1)
    WandbSink(folder.path, "online").start()
    assert wait_until(lambda: fake.steps() == [0, 1])
    os.kill(fake.calls("init")[0]["pid"], signal.SIGKILL)  # the node is lost
    folder.append(2)
    # The run resumes from the checkpoint of epoch 0: it trains 1 and 2 anew and writes them again.
    first = (folder.path / "metrics.jsonl").read_text().splitlines(keepends=True)[0]
    (folder.path / "metrics.jsonl").write_text(first)
    sink = WandbSink(folder.path, "online", timeout_s=20)
    sink.start()
    assert wait_until(lambda: len(fake.calls("init")) == 2)
    folder.append(1, 2, 3)
    folder.summary()
    assert sink.finish()
    assert [call["values"] for call in fake.calls("log")] == [make_row(epoch) for epoch in range(4)]


def test_finish_ends_a_run_that_has_no_summary(folder, fake, wait_until):
    """An interrupted run: neither summary nor failure, yet the last rows arrive."""
    sink = WandbSink(folder.path, "online", timeout_s=20)
    sink.start()
    folder.append(0, 1)
    assert sink.finish()
    assert fake.steps() == [0, 1]
    assert [call["exit_code"] for call in fake.calls("finish")] == [1]


def test_a_failed_status_ends_it(folder, fake, wait_until):
    sink = WandbSink(folder.path, "online", timeout_s=20)
    sink.start()
    folder.append(0)
    folder.status("failed")
    assert wait_until(lambda: fake.calls("finish"))
    assert sink.finish()
    assert fake.steps() == [0]


@pytest.mark.parametrize("fault", ["", "hang_finish"])
def test_it_ends_with_its_parent(folder, fake, alive, wait_until, fault):
    """SIGKILL of the run while a worker that it forked still holds the pipe; also with a wandb that hangs."""
    fake.fault(fault)
    script = textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from spfde_exp.track.wandb_sink import WandbSink

        WandbSink(Path(sys.argv[1]), "online").start()
        worker = os.fork()
        if worker:
            print(worker, flush=True)
        time.sleep(30)
    """)
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])
    command = [sys.executable, "-c", script, str(folder.path)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    with run:
        worker = int(run.stdout.readline())
        folder.append(0)
        assert wait_until(lambda: fake.steps() == [0])
        folder.append(1)
        run.kill()
    (init,) = fake.calls("init")
    assert alive(worker)
    assert wait_until(lambda: not alive(init["pid"]))
    os.kill(worker, signal.SIGKILL)
    for hang in fake.calls("hang"):
        os.kill(hang["helper"], signal.SIGKILL)
    assert fake.steps() == [0, 1]
    assert [call["exit_code"] for call in fake.calls("finish")] == ([] if fault else [1])
