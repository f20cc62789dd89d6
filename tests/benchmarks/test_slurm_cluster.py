"""The private Slurm of tests and benchmarks leaves nothing behind, whatever becomes of whoever asked for it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = pytest.mark.slurm

# Starts a cluster with a job on it that ignores every signal that can be ignored, and goes on to sleep.
USER = """
import os, pathlib, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from _slurm_cluster import private_slurm
with private_slurm(pathlib.Path(sys.argv[2])) as env:
    job = ["sbatch", "--output=/dev/null", "--wrap=trap '' TERM INT HUP CONT; touch " + sys.argv[2] + "/job; sleep 600"]
    subprocess.run(job, env=os.environ | env, check=True, stdout=subprocess.DEVNULL)
    while not os.path.exists(sys.argv[2] + "/job"):
        time.sleep(0.1)
    print("ready", flush=True)
    sys.stdin.read()
"""


def processes_of(folder: Path) -> list[str]:
    """Names of processes that know of a cluster, by its configuration or by its folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            about = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            name = (process / "comm").read_text().strip()
        except OSError:
            continue
        if bytes(folder) in about and int(process.name) != os.getpid():
            found.append(name)
    return found


@pytest.mark.parametrize("how", ["end", signal.SIGINT, signal.SIGKILL], ids=str)
def test_nothing_is_left(slurm_cluster: dict[str, str], tmp_path: Path, how: str | signal.Signals) -> None:
    """Asking for the session's own cluster only skips where there can be none."""
    folder = tmp_path / "cluster"
    command = [sys.executable, "-c", USER, str(BENCHMARKS), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as user:
        assert user.stdin is not None and user.stdout is not None
        assert user.stdout.readline() == b"ready\n"
        assert {"munged", "slurmctld", "slurmd", "sleep"} <= set(processes_of(folder))
        user.stdin.close() if isinstance(how, str) else user.send_signal(how)
        user.wait(timeout=30)
    end = time.monotonic() + 10
    while (left := processes_of(folder)) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []
