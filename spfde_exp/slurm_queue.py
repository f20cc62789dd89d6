"""What a Slurm cluster says of its jobs. Its accounting (sacct) is not needed."""

import subprocess
import time

_FRESH_S = 2.0  # many runs are asked about at once: one look at the queue answers for all
_seen: tuple[float, frozenset[str] | None] = (float("-inf"), None)


def queued(job_id: str) -> bool | None:
    """Whether a job (``12``) or a task of an array (``12_3``) waits or runs; None where Slurm cannot be asked."""
    global _seen
    when, jobs = _seen
    if time.monotonic() - when > _FRESH_S:
        jobs = _ask()
        _seen = (time.monotonic(), jobs)
    return None if jobs is None else job_id in jobs


def _ask() -> frozenset[str] | None:
    try:
        answer = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%i"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return frozenset(answer.stdout.split())
