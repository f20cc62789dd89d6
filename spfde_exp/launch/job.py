"""What a job does: train the run that was written down when it was submitted. Importing it needs no torch."""

import logging
import os
from pathlib import Path


def run_job(run_dir: str, overrides: list[str], visible_gpu: str | None) -> float:
    """Train the run in `run_dir` from its config.yaml; the result of a submitit job.

    Args:
        overrides: what the user asked for, for meta.json.
        visible_gpu: entry of CUDA_VISIBLE_DEVICES that this job may use; None on a CPU slot.

    Returns:
        The objective, accuracy in percent.
    """
    if visible_gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpu
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    from spfde_exp.config import resolve
    from spfde_exp.errors import UserError
    from spfde_exp.run import train
    from spfde_exp.store import RunFolder

    config = RunFolder(Path(run_dir)).config()
    if config is None:
        raise UserError(f"{run_dir}/config.yaml is gone; submit the sweep again")
    return train(resolve(config), overrides)
