"""What the process of a run does: train what was written down when the sweep was submitted. Imports no torch."""

import json
import logging
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """One run for one process.

    Attributes:
        run_dir: absolute path of the run folder; its config.yaml says what to train.
        overrides: what the user asked for, for meta.json.
        sweep: id of the sweep's record, whose code is compared with today's.
        threads: CPU threads; used where the configuration says ``auto``.
        gpu: entry of CUDA_VISIBLE_DEVICES that it may use; None leaves the devices alone.
        runs_per_device: runs that share its device, itself included.
        lifeline: file that the sweep keeps locked while it lives.
        busy: files that the process keeps locked while it lives, to say that its slot is in use.
        sharing: one that it locks together with the other runs on its device.
        slurm_job: id of the Slurm job that was handed in for it.
    """

    run_dir: str
    overrides: list[str]
    sweep: str | None = None
    threads: int | None = None
    gpu: str | None = None
    runs_per_device: int = 1
    lifeline: str | None = None
    busy: tuple[str, ...] = ()
    sharing: str | None = None
    slurm_job: str | None = None

    def command(self) -> list[str]:
        """Arguments of a process that carries it out, its output on standard error."""
        return [sys.executable, "-u", "-m", "spfde_exp.launch.job", json.dumps(asdict(self))]


def run_job(order: Order) -> float:
    """Train the run of `order` in this process, from its config.yaml; the job that submitit runs.

    Returns:
        The objective, accuracy in percent.

    Raises:
        SystemExit: it was stopped; it goes on from its last checkpoint.
        Exception: whatever failed; status.json has it too.
    """
    if order.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = order.gpu
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    from spfde_exp.failure import Stopped
    from spfde_exp.launch.signals import StopWatch
    from spfde_exp.locks import FileLock
    from spfde_exp.store import RunFolder

    folder = RunFolder(Path(order.run_dir))
    locks = [FileLock(Path(name)) for name in order.busy]  # held until the process ends
    try:
        with StopWatch(folder, Path(order.lifeline) if order.lifeline else None):
            for lock in locks:
                lock.take()  # a look at it by another sweep is all that can be in the way
            if order.sharing is not None:
                locks.append(FileLock(Path(order.sharing)))
                locks[-1].take(shared=True)
            return _train(folder, order)
    except Stopped as error:
        log.warning("run %s: %s; it goes on from its last checkpoint", folder.signature, error)
        folder.stopped(str(error), error.failure)
        sys.exit(143)


def _train(folder: Any, order: Order) -> float:
    from spfde_exp.config import resolve
    from spfde_exp.errors import UserError
    from spfde_exp.launch.record import code_changed
    from spfde_exp.run import train

    raw = folder.config()
    if raw is None:
        raise UserError(f"{folder.path}/config.yaml is gone; submit the sweep again")
    if Path(raw["runs_dir"]).absolute() != folder.path.parent:  # started elsewhere, or the folder was moved
        raw["runs_dir"] = str(folder.path.parent)
    config = resolve(raw)
    if config.threads == "auto" and order.threads is not None:
        config = replace(config, threads=order.threads)
    if order.gpu is not None:
        config = replace(config, device="cuda")  # the process sees no other
    if changed := code_changed(folder.path.parent, order.sweep):
        log.warning("run %s: %s", folder.signature, changed)
    launched = {"sweep": order.sweep, "runs_per_device": order.runs_per_device, "code_changed": bool(changed)}
    launched["slurm_job"] = order.slurm_job
    return train(config, order.overrides, launched)


def main() -> None:
    """Carry out the order in the first argument; exit status 0 if the run is done."""
    from spfde_exp.errors import UserError

    fields = json.loads(sys.argv[1])
    try:
        run_job(Order(**fields | {"busy": tuple(fields["busy"])}))
    except UserError as error:
        log.error("error: %s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
