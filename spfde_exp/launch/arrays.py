"""From jobs to Slurm's job arrays: which tasks belong to which array, and how they are handed in."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import clean_env

from spfde_exp.errors import UserError
from spfde_exp.launch.batch import Batch

FOREVER = 10**6  # how often submitit may put a job back into the queue; a batch without progress ends by itself

T = TypeVar("T")


@dataclass(frozen=True)
class Array:
    """Jobs that are handed in together.

    Attributes:
        jobs: their places in the whole submission.
        limit: tasks at once.
        after: place among the arrays of the one that has to end first, or None.
    """

    jobs: tuple[int, ...]
    limit: int
    after: int | None = None


def cut(items: Sequence[T], size: int) -> list[tuple[T, ...]]:
    """`items` in pieces of `size`; the last one may be shorter."""
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def plan_arrays(jobs: int, largest: int, parallel: int | None) -> list[Array]:
    """Arrays for a number of jobs.

    Slurm limits the tasks at once of one array only. So the `parallel` seats are divided between lanes, as many as
    arrays are needed; each job takes the next seat, and the arrays of one lane follow each other.

    Args:
        largest: tasks that an array may have.
        parallel: tasks at once over all arrays, or None for no limit.
    """
    if parallel is None or parallel >= jobs:
        return [Array(piece, len(piece)) for piece in cut(range(jobs), largest)]
    lanes = min(parallel, -(-jobs // largest))
    pieces = [cut([job for job in range(jobs) if job % parallel % lanes == lane], largest) for lane in range(lanes)]
    arrays: list[Array] = []
    last: dict[int, int] = {}
    for turn in range(max(map(len, pieces))):
        for lane in range(lanes):
            if turn < len(pieces[lane]):
                seats = len(range(lane, parallel, lanes))
                arrays.append(Array(pieces[lane][turn], seats, last.get(lane)))
                last[lane] = len(arrays) - 1
    return arrays


def hand_in(batches: Sequence[Batch], folder: Path, limit: int, parameters: Mapping[str, Any]) -> list[str]:
    """Submit one array.

    Args:
        folder: for scripts, outputs and pickled batches; all nodes must see it.
        limit: tasks at once.
        parameters: of submitit's Slurm executor.

    Returns:
        The job id of each batch: ``12_0``, ``12_1``, ..., or ``12`` where there is only one.

    Raises:
        UserError: Slurm refuses it.
    """
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=FOREVER)
    executor.update_parameters(**parameters, array_parallelism=limit)
    try:
        with _as_from_outside():
            return [str(job.job_id) for job in executor.submit_array(list(batches))]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(lines[-1].removeprefix("sbatch: error: ")) from error


@contextmanager
def _as_from_outside() -> Iterator[None]:
    """Inside a Slurm job, hide it: a job handed in from there would inherit what was asked for this one."""
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    conf = os.environ.get("SLURM_CONF")  # which cluster this is
    with clean_env():
        if conf is not None:
            os.environ["SLURM_CONF"] = conf
        yield
