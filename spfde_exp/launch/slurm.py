"""Runs as job arrays on a Slurm cluster: submitted with submitit, and left alone or waited for."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from spfde_exp.claim import Taken
from spfde_exp.errors import UserError
from spfde_exp.launch.arrays import cut, hand_in, plan_arrays
from spfde_exp.launch.batch import Batch
from spfde_exp.launch.job import Order
from spfde_exp.launch.slots import Slot
from spfde_exp.launch.sweep import Outcome, Run, Sweep
from spfde_exp.launch.waiting import wait_for
from spfde_exp.schema import Config
from spfde_exp.slurm_queue import max_array_size
from spfde_exp.store import SLURM_LOGS, RunFolder


@dataclass
class Slurm:
    """The launcher ``hydra/launcher=slurm``; conf/hydra/launcher/slurm.yaml explains the options.

    Raises:
        UserError: a value is impossible.
    """

    name: ClassVar[str] = "slurm"

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: int = 240
    memory: str | None = None
    cpus: int = 4
    gpus: int | str = 0
    array_parallelism: int | None = None
    runs_per_job: int = 1
    retries: int = 0
    wait: bool = False
    signal_delay_s: int = 120
    sbatch: Mapping[str, Any] | None = None
    srun: Sequence[str] = ("--cpu-bind=none",)

    def __post_init__(self) -> None:
        for name in ("time", "cpus", "runs_per_job", "array_parallelism", "signal_delay_s", "retries"):
            value, least = getattr(self, name), 0 if name == "retries" else 1
            if value is None and name == "array_parallelism":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"hydra.launcher.{name}={value} is impossible; allowed: whole numbers from {least}")
        if self.signal_delay_s >= 60 * self.time:
            raise UserError(
                f"hydra.launcher.signal_delay_s={self.signal_delay_s} leaves nothing of hydra.launcher.time="
                f"{self.time} minutes; allowed: less than the time"
            )

    def slots(self, configs: Sequence[Config]) -> list[Slot]:
        """Refuse what this cluster cannot do; on which devices runs will be is not known here."""
        if any(config.dry_run for config in configs):
            return []  # a plan may be made on a machine that is no part of the cluster
        size = max_array_size() if shutil.which("sbatch") and shutil.which("srun") else None
        if size is None:
            raise UserError(
                "hydra/launcher=slurm needs a Slurm cluster, and scontrol finds none; start it on a login node of "
                "the cluster, or use hydra/launcher=local"
            )
        if any(config.device.startswith("cuda") for config in configs) and not self.gpus and not self.sbatch:
            raise UserError("device=cuda needs a job with GPUs; set hydra.launcher.gpus=1, or device=auto")
        self._largest = max(1, size)
        return []

    def launch(self, sweep: Sweep) -> dict[str, Outcome]:
        """Submit what is not in the queue already; return at once, or wait for all of it."""
        runs = [run for run in sweep.todo if _idle(run)]
        if len(runs) < len(sweep.todo):
            print(f"{len(sweep.todo) - len(runs)} of {len(sweep.todo)} runs are in the queue or at work already")
        self._submit(runs, sweep)
        if not self.wait:
            return {run.name: None for run in sweep.todo}
        return wait_for(sweep, self.runs_per_job * (self.array_parallelism or len(sweep.todo)))

    # -- submitting

    def _submit(self, runs: Sequence[Run], sweep: Sweep) -> None:
        groups = cut(runs, self.runs_per_job)
        folder = sweep.record.path / SLURM_LOGS
        left, ids = len(runs), list[str]()
        for array in plan_arrays(len(groups), self._largest, self.array_parallelism):
            batches = [self._batch(groups[job], sweep.record.id) for job in array.jobs]
            after = None if array.after is None else ids[array.after]
            try:
                jobs = hand_in(batches, folder, array.limit, self.parameters(after))
            except UserError as error:
                others = f"; the others are jobs {', '.join(ids)}" if ids else ""
                raise UserError(
                    f"Slurm refuses {left} of {len(runs)} runs ({error}){others}; change hydra.launcher.* or wait, "
                    "and give the same command again"
                ) from error
            ids.append(jobs[0].split("_")[0])
            marked = [(run, job) for place, job in zip(array.jobs, jobs, strict=True) for run in groups[place]]
            for run, job in marked:
                _mark(run.folder, job)
            left -= len(marked)
            tasks = "one task" if len(jobs) == 1 else f"tasks 0-{len(jobs) - 1}"
            print(f"submitted Slurm job {ids[-1]}: {tasks}, {len(marked)} runs", flush=True)

    def _batch(self, runs: Sequence[Run], sweep: str) -> Batch:
        threads = max(1, self.cpus // self.runs_per_job)  # the same in a job that is not full
        packed = len(runs) if len(runs) > self.cpus else 1  # they share cores; the job finds out about GPUs
        orders = [Order(str(run.folder.path.absolute()), run.overrides, sweep, threads, None, packed) for run in runs]
        return Batch(tuple(orders), self.retries, self.time, self.signal_delay_s)

    def parameters(self, after: str | None) -> dict[str, Any]:
        """What submitit's Slurm executor is given.

        Args:
            after: id of a job that has to end first.
        """
        more: dict[str, Any] = {"job_name": "spfde_exp", "requeue": True, "gpus_per_node": self.gpus or None}
        more |= {key.replace("-", "_"): value for key, value in (self.sbatch or {}).items()}
        first = [more.pop("dependency", None), f"afterany:{after}" if after else None]
        named = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "time": self.time,
            "mem": self.memory,
            "cpus_per_task": self.cpus,
            "dependency": ",".join(filter(None, first)) or None,
            "signal_delay_s": self.signal_delay_s,
            "wckey": None,  # submitit's own is refused by clusters that know their keys
            "stderr_to_stdout": True,
            # since 22.05 srun does not take over the number of cores by itself
            "srun_args": [f"--cpus-per-task={self.cpus}", *self.srun],
        }
        return named | {
            "additional_parameters": {key: v for key, v in more.items() if v is not None and v is not False}
        }


def _idle(run: Run) -> bool:
    """Whether nobody is at a run, or going to be: another submission may have seen to it since this one looked."""
    done = run.folder.summary() is not None and not run.config.force
    return not done and run.folder.state() != "running" and run.folder.slurm_job() is None


def _mark(folder: RunFolder, job: str) -> None:
    """Put the job into the status of a run that has not begun."""
    with suppress(Taken), folder.locked():
        if folder.status().get("state") == "pending":
            folder.set_status("pending", slurm_job=job)
