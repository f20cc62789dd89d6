"""What this machine offers to a run."""

import os


def core_ids() -> list[int]:
    """CPU cores that this process may run on, by the system's numbers."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """How many these are."""
    return len(core_ids())
