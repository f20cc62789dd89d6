"""Whether the kernel killed a process of this job for memory: it leaves no other word of it."""

from pathlib import Path


def oom_kills(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Processes of our control group that were killed for memory so far; 0 where that is not counted.

    Args:
        proc: what groups we are in, see cgroups(7).
        root: where the groups are.
    """
    try:
        lines = [line.split(":", 2) for line in proc.read_text().splitlines()]
    except OSError:
        return 0
    for _, controllers, path in lines:
        if controllers == "":  # version 2
            count = _count(root / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):  # version 1
            count = _count(root / "memory" / path.lstrip("/") / "memory.oom_control")
        else:
            continue
        if count is not None:
            return count
    return 0


def _count(file: Path) -> int | None:
    try:
        values = dict(line.split() for line in file.read_text().splitlines())
        return int(values["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None
