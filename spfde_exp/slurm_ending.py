"""Why Slurm ended a job, where the process of a run could not say so itself."""

import re
from pathlib import Path
from typing import NamedTuple

from spfde_exp.failure import CANCELLED, LOST_NODE, OUT_OF_MEMORY, TIME_LIMIT
from spfde_exp.slurm_queue import ask

_LIFE = "Starting with JobEnvironment("  # submitit writes this into a job's log each time the job starts
_NOTE = re.compile(r"\*\*\* (?:STEP|JOB) \S+ ON \S+ CANCELLED AT \S+ (?:DUE TO (.+?) )?\*\*\*|(oom.kill|Out Of Memory)")
_TAIL_BYTES = 1 << 16


class Ending(NamedTuple):
    """Why Slurm ended a job: the class of the failure, None where the job only goes on later; and that in words."""

    failure: str | None
    error: str


_TIME_LIMIT = Ending(TIME_LIMIT, "its Slurm job reached its time limit")
_LOST_NODE = Ending(LOST_NODE, "the node of its Slurm job was lost")
_CANCELLED = Ending(CANCELLED, "its Slurm job was cancelled")
_OUT_OF_MEMORY = Ending(OUT_OF_MEMORY, "its Slurm job used more memory than it had asked for")
_REQUEUED = Ending(None, "its Slurm job was put back into the queue")

_NOTES = {"TIME LIMIT": _TIME_LIMIT, "NODE FAILURE": _LOST_NODE, "JOB REQUEUE": _REQUEUED, "PREEMPTION": _REQUEUED}
_STATES = {
    "TIMEOUT": _TIME_LIMIT,
    "NODE_FAIL": _LOST_NODE,
    "CANCELLED": _CANCELLED,
    "OUT_OF_MEMORY": _OUT_OF_MEMORY,
    "PREEMPTED": _REQUEUED,
}


def ending(log: Path, job_id: str | None = None, previous: bool = False) -> Ending | None:
    """Why Slurm ended a job of submitit's; None where it did not, or nothing tells.

    Slurm's daemon on the node leaves a note in the job's output. Where there is none, the controller is asked, which
    remembers a job for some minutes.

    Args:
        log: output of the job.
        job_id: what to ask the controller about; None does not ask.
        previous: the job has started again since: tell about its life before. A life that Slurm started anew without
            leaving a note ended with its node.
    """
    lives = _tail(log).split(_LIFE)
    if previous and len(lives) > 1:
        return _noted(lives[-2]) or _LOST_NODE
    if (found := _noted(lives[-1])) is not None or job_id is None:
        return found
    answer = ask("scontrol", "show", "job", job_id) or ""
    states = re.findall(r"JobState=(\w+)", answer)
    return _STATES.get(states[0]) if states else None


def _noted(text: str) -> Ending | None:
    notes = list(_NOTE.finditer(text))
    if not notes:
        return None
    reasons = [note.group(1).split(",")[0] for note in notes if note.group(1)]
    if any(note.group(2) for note in notes):
        return _OUT_OF_MEMORY
    return _NOTES.get(reasons[-1]) if reasons else _CANCELLED


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
