"""What a sweep shows while it works."""

import contextlib
import logging
import os
import pty
import re
import subprocess
import sys
import textwrap

import pytest

from spfde_exp.launch import live as module
from spfde_exp.launch.live import LiveTable
from spfde_exp.progress import Reader


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when it is told to."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def sweep(make_run):
    """Four runs of 4 epochs, none begun; `table()` makes the table of them."""

    class Sweep:
        names = ("aaaa", "bbbb", "cccc", "dddd")

        def __init__(self):
            self.folders = {name: make_run(name, "pending", rows=0) for name in self.names}

        def table(self, **more):
            labels = {name: f"method=mest seed={number}" for number, name in enumerate(self.names)}
            return LiveTable(list(self.folders.values()), labels, dict.fromkeys(self.names, 4), 2, **more)

        def epochs(self, name, count, seconds=10.0):
            for epoch in range(count):
                row = {"epoch": epoch, "test_acc": 90.0 + epoch, "epoch_time_s": seconds}
                self.folders[name].append_metrics(row)

        def finish(self, name):
            self.folders[name].write_json("summary", {"test_acc": 93.5})

    return Sweep()


def test_without_a_terminal_there_is_a_line_when_a_run_starts_and_ends(sweep, clock, caplog):
    caplog.set_level(logging.INFO)
    with sweep.table() as live:
        live.update([], sweep.names)
        live.update(["aaaa", "bbbb"], ["cccc", "dddd"])
        sweep.finish("aaaa")
        sweep.folders["bbbb"].set_status("failed", error="the loss became nan", failure="nan_loss")
        live.update(["cccc"], ["dddd"])
        live.update(["cccc"], ["dddd"])
    assert caplog.messages == [
        "aaaa method=mest seed=0: started",
        "bbbb method=mest seed=1: started",
        "[2 left] aaaa method=mest seed=0: done 93.50 %",
        "[2 left] bbbb method=mest seed=1: failed nan_loss: the loss became nan",
        "cccc method=mest seed=2: started",
    ]


def test_without_a_terminal_there_is_a_summary_once_a_minute(sweep, clock, caplog):
    caplog.set_level(logging.INFO)
    sweep.finish("aaaa")
    with sweep.folders["bbbb"].owned(), sweep.table() as live:
        live.update(["bbbb"], ["cccc", "dddd"])
        caplog.clear()
        sweep.epochs("bbbb", 2)
        for _ in range(125):
            clock.now += 1
            live.update(["bbbb"], ["cccc", "dddd"])
    # bbbb has 2 epochs left; cccc has the other slot, of 4 epochs, and dddd follows bbbb
    expected = "1 of 4 runs done, 1 running, 2 pending; epoch 6 of 16; time left: 1.0 min"
    assert caplog.messages == [expected, expected]


def test_what_was_done_before_is_counted_and_not_told(sweep, clock, caplog):
    caplog.set_level(logging.INFO)
    sweep.finish("aaaa")
    with sweep.table() as live:
        live.update([], ["bbbb", "cccc", "dddd"])
        total = live.total()
    assert caplog.messages == []
    assert (total.states["done"], total.runs, total.epoch, total.epochs) == (1, 4, 4, 16)


def test_a_run_that_is_tried_again_has_not_ended(sweep, clock):
    with sweep.table() as live:
        live.update(["aaaa"], ["bbbb", "cccc", "dddd"])
        sweep.folders["aaaa"].set_status("failed")
        live.update([], ["bbbb", "cccc", "dddd"])
        assert live.total().states["failed"] == 1
        live.update([], [*sweep.names[1:], "aaaa"])
        clock.now += 1
        live.update([], [*sweep.names[1:], "aaaa"])
        assert live.total().states["failed"] == 0


def test_a_run_that_has_been_started_is_running_before_it_says_so(sweep, clock):
    """Its folder still says what it was before: waiting, or failed where it is tried again."""
    sweep.folders["bbbb"].set_status("failed", error="boom", failure="crash")
    with sweep.table() as live:
        live.update(["aaaa", "bbbb"], ["cccc", "dddd"])
        assert [run.state for run, _ in live._rows(4)] == ["running", "running", "pending", "pending"]


def test_known_times_come_before_those_of_other_runs(sweep, clock):
    with sweep.table(expected_s=dict.fromkeys(sweep.names, 60.0)) as live:
        live.update(["aaaa", "bbbb"], ["cccc", "dddd"])
        assert live.total().time_left_s == 120.0
    with sweep.table() as live:
        live.update(["aaaa", "bbbb"], ["cccc", "dddd"])
        assert live.total().time_left_s is None


def test_only_running_runs_are_read_and_those_once_a_second(sweep, clock, monkeypatch):
    reads = []
    read = Reader.read
    monkeypatch.setattr(Reader, "read", lambda self, folder: reads.append(folder.signature) or read(self, folder))
    with sweep.table() as live:
        for _ in range(10):
            live.update(["aaaa"], ["bbbb", "cccc", "dddd"])
            clock.now += 0.2
    assert reads == ["aaaa", "aaaa"]


def in_terminal(code, *arguments, lines=24, columns=80):
    """What a Python program writes to a terminal on its standard error, as text."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "LINES": str(lines), "COLUMNS": str(columns), "TERM": "xterm"}
    program = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    process = subprocess.Popen(program, stderr=theirs, env=environment)
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # so the other end says that it is closed
        while part := os.read(ours, 65536):
            output += part
    os.close(ours)
    assert process.wait(60) == 0, output.decode()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.decode()).replace("\r", "")


def test_a_terminal_has_a_table_of_what_runs_and_what_comes_next(sweep, tmp_path):
    sweep.epochs("aaaa", 2, 0.5)
    code = """
        import logging, sys
        from pathlib import Path
        from spfde_exp.launch.live import LiveTable
        from spfde_exp.store import RunFolder

        logging.basicConfig(level=logging.INFO, format="%(message)s")
        names = ["aaaa", "bbbb", "cccc", "dddd"]
        folders = [RunFolder(Path(sys.argv[1], name)) for name in names]
        labels = {name: f"method=mest seed={number}" for number, name in enumerate(names)}
        with folders[0].owned(), LiveTable(folders, labels, dict.fromkeys(names, 4), 2) as live:
            live.update(["aaaa"], ["bbbb", "cccc", "dddd"])
            folders[1].set_status("failed", error="boom", failure="crash")
            live.update(["aaaa"], ["cccc", "dddd"])
        logging.info("the table is gone")
    """
    shown = in_terminal(code, tmp_path)
    first, *_, last = (part.splitlines() for part in shown.split("1 running")[1:])
    rows = [line.split() for line in first if line.lstrip().startswith(sweep.names)]
    assert rows[0] == ["aaaa", "seed=0", "running", "2/4", "91.00", "%", "0.5", "1.0", "s"]
    assert rows[1:] == [[name, f"seed={n}", "pending", "0/4"] for n, name in enumerate(sweep.names[1:], 1)]
    assert ["bbbb", "crash:", "seed=1", "failed", "0/4"] in [line.split() for line in last]
    assert "[3 left] bbbb method=mest seed=1: failed crash: boom" in shown  # above the table, to stay
    assert shown.rstrip().endswith("the table is gone")


def test_a_thousand_runs_fit_the_terminal_and_only_those_that_run_are_read(make_run, tmp_path, caplog):
    names = [f"{number:04x}" for number in range(1000)]
    folder = make_run("0000", "pending")
    for name in names[1:]:
        (tmp_path / name).symlink_to(folder.path)
    code = """
        import sys
        from pathlib import Path
        from spfde_exp.launch import live as module
        from spfde_exp.store import RunFolder

        folders = [RunFolder(path) for path in sorted(Path(sys.argv[1]).glob("[0-9a-f]*"))]
        names = [folder.signature for folder in folders]
        opened = []
        sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
        table = module.LiveTable(folders, dict.fromkeys(names, "seed=0"), dict.fromkeys(names, 4), 8)
        with table as live:
            live.update(names[:8], names[8:])
            for wait in (0, 1000):  # a call that draws, and one in between
                module.REFRESH_S = wait
                opened.clear()
                live.update(names[:8], names[8:])
                runs = {str(path).split("/")[-2] for path in opened if str(path).endswith((".json", ".jsonl"))}
                print("\\nread", len(runs), "of", len(opened), file=sys.stderr)
    """
    shown = in_terminal(code, tmp_path)
    assert "983 runs are not shown" in shown
    (runs, opened), between = re.findall(r"read (\d+) of (\d+)", shown)
    assert 8 <= int(runs) <= 24  # those that run, and no more in all than the terminal has lines
    assert int(opened) < 10 * 24
    assert between == ("0", "0")
