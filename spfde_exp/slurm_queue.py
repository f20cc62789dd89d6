"""What a Slurm cluster says of its queue. Its accounting (sacct) is not needed."""

import re
import subprocess
import time

_FRESH_S = 2.0  # many runs are asked about at once: one look at the queue answers for all
_seen: tuple[float, frozenset[str] | None] = (float("-inf"), None)  # time of the look, ids


def queued(job_id: str, since: float = 0.0) -> bool | None:
    """Whether a job (``12``) or a task of an array (``12_3``) waits or runs; None where Slurm cannot be asked.

    Args:
        since: seconds of the epoch at which the job was known to be there: an older look at the queue does not
            count against it.
    """
    global _seen
    when, jobs = _seen
    missing = jobs is not None and job_id not in jobs
    if time.time() - when > _FRESH_S or missing and when <= since:
        when, jobs = time.time(), _look()
        _seen = (when, jobs)
    return None if jobs is None else job_id in jobs


def _look() -> frozenset[str] | None:
    answer = ask("squeue", "--noheader", "--array", "--format=%i")
    return None if answer is None else frozenset(answer.split())


def job_state(job_id: str) -> str | None:
    """State of a job in the queue, such as RUNNING or COMPLETING; None where it is not there, or nothing tells."""
    answer = ask("squeue", "--noheader", "--array", f"--jobs={job_id}", "--format=%T")
    return answer.split()[0] if answer and answer.split() else None


def max_array_size() -> int | None:
    """How many tasks a job array may have; None where Slurm cannot be asked."""
    answer = ask("scontrol", "show", "config")
    if answer is None:
        return None
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer, re.MULTILINE)
    return int(found.group(1)) if found else 1


def ask(*command: str) -> str | None:
    """What a command of Slurm prints; None where there is no such command, or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
