"""What this machine offers to a run."""

import os
import platform
import re
from contextlib import suppress
from pathlib import Path


def core_ids() -> list[int]:
    """CPU cores that this process may run on, by the system's numbers."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """How many these are."""
    return len(core_ids())


def cpu_name() -> str:
    """The processor's name; of its architecture where the system does not tell."""
    with suppress(OSError):
        if found := re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.processor() or platform.machine()
