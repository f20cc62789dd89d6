"""A private Slurm on this host: munge, a controller and several nodes on loopback. For tests and slurm.py.

    with private_slurm(folder) as env: subprocess.run(["sbatch", ...], env=os.environ | env)

A keeper process (this file as a program) starts the daemons and ends them, and every job, when its standard input
closes: whatever becomes of the process that asked for the cluster, nothing is left behind.
"""

import ctypes
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

DAEMONS = ("munged", "mungekey", "slurmctld", "slurmd")
START_S = 60.0
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>: orphans below us become our children

# The nodes have more cores and memory than the host may have: config_overrides makes Slurm believe it.
CONF = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SlurmctldPort={ctld_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/%n
SlurmdParameters=config_overrides
ReturnToService=1
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
MaxArraySize={max_array_size}
KillWait={kill_wait_s}
UnkillableStepTimeout=600
MinJobAge=300
GresTypes=gpu
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes=ALL Default=YES GraceTime=20
PartitionName=urgent Nodes=ALL PriorityTier=9
"""


def missing() -> str | None:
    """Why no private Slurm can be started here, or None."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    absent = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(absent)} (Debian: slurmctld slurmd slurm-client munge)" if absent else None


@contextmanager
def private_slurm(
    folder: Path, nodes: int = 2, cpus: int = 2, max_array_size: int = 8, kill_wait_s: int = 5
) -> Iterator[dict[str, str]]:
    """A running cluster whose files lie in `folder`.

    Args:
        nodes: called n0, n1, ...; each with 2 GPUs in name. Jobs in the partition `urgent` preempt others.
        cpus: cores of each node; there need not be as many.
        max_array_size: task ids of a job array are below this.
        kill_wait_s: seconds between SIGTERM and SIGKILL at a time limit.

    Yields:
        What to add to a client's environment.

    Raises:
        RuntimeError: it did not start; the logs' last lines are in the message.
    """
    options = json.dumps({"nodes": nodes, "cpus": cpus, "max_array_size": max_array_size, "kill_wait_s": kill_wait_s})
    command = [sys.executable, str(Path(__file__).resolve()), str(folder), options]
    keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert keeper.stdin is not None and keeper.stdout is not None
    try:
        answer = keeper.stdout.readline()
        if answer.strip() != "ready":
            raise RuntimeError(f"no Slurm: {answer}{keeper.stdout.read()}")
        yield {"SLURM_CONF": str(folder / "slurm.conf")}
    finally:
        keeper.stdin.close()
        keeper.wait()
        keeper.stdout.close()


def keep(folder: Path, nodes: int, cpus: int, max_array_size: int, kill_wait_s: int) -> None:
    """Run a cluster until standard input closes."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    names = [f"n{index}" for index in range(nodes)]
    for directory in ("state", "gpus", *names):
        (folder / directory).mkdir(parents=True)
    configure(folder, names, cpus, max_array_size, kill_wait_s)
    subprocess.run(["mungekey", "--create", "--keyfile", folder / "munge.key"], check=True)
    munged = ["munged", "--force", "--foreground", f"--socket={folder}/munge.sock", f"--key-file={folder}/munge.key"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")]
    daemon(munged, folder / "munged.out")
    until("munged", lambda: (folder / "munge.sock").exists())
    daemon(["slurmctld", "-D", "-i"], folder / "slurmctld.out")
    for name in names:
        daemon(["slurmd", "-D", "-N", name], folder / f"{name}.out")
    until("idle nodes", lambda: ask("sinfo", "-h", "-o", "%D %t") == f"{nodes} idle")


def configure(folder: Path, names: list[str], cpus: int, max_array_size: int, kill_wait_s: int) -> None:
    """Write slurm.conf and gres.conf, with ports that are free."""
    host = socket.gethostname().split(".")[0]
    ctld_port, *ports = free_ports(1 + len(names))
    for index in range(2):
        (folder / "gpus" / f"gpu{index}").symlink_to("/dev/null")  # any device will do
    node = "NodeName={} NodeHostname={} NodeAddr=127.0.0.1 Port={} CPUs={} RealMemory=100000 Gres=gpu:2 State=UNKNOWN"
    lines = [node.format(name, host, port, cpus) for name, port in zip(names, ports, strict=True)]
    text = CONF.format(
        host=host,
        user=getpass.getuser(),
        folder=folder,
        ctld_port=ctld_port,
        max_array_size=max_array_size,
        kill_wait_s=kill_wait_s,
        nodes="\n".join(lines),
    )
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpus/gpu[0-1]\n")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def daemon(command: list[str], log: Path) -> None:
    """Start a daemon in the foreground that dies with us."""
    with log.open("ab") as file:
        subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )


def ask(*command: str) -> str:
    """What a client command prints, stripped; also when it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def until(what: str, holds: Callable[[], bool]) -> None:
    """Wait until `holds()`.

    Raises:
        TimeoutError: it did not within START_S seconds.
    """
    end = time.monotonic() + START_S
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {START_S:.0f} s for {what}")
        time.sleep(0.1)


def reap(*_: object) -> None:
    """Bury dead children, as init would: Slurm waits for every process of a job to be gone."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def kill_children() -> None:
    """Kill every process below us and wait for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if not children:
            return
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        for child in children:
            os.waitpid(int(child), 0)


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    try:
        keep(folder, **json.loads(sys.argv[2]))
        signal.signal(signal.SIGCHLD, reap)
        print("ready", flush=True)
        sys.stdin.read()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        for log in (*folder.glob("*.out"), *folder.glob("*.log")):
            print(f"-- {log.name}", *log.read_text().splitlines()[-5:], sep="\n", flush=True)
    finally:
        kill_children()


if __name__ == "__main__":
    main()
