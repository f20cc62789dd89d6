"""How many runs this machine takes at once, and what each may use."""

import os
from dataclasses import dataclass

from spfde_exp.errors import UserError
from spfde_exp.machine import usable_cores


@dataclass(frozen=True)
class Slot:
    """A place for one run.

    Attributes:
        gpu: its entry of CUDA_VISIBLE_DEVICES, None on the CPU.
        threads: CPU threads it may use.
    """

    gpu: str | None
    threads: int


def find_slots(device: str, count: int | str, runs: int) -> list[Slot]:
    """The slots for a sweep of `runs` runs: one per GPU, else one per core; threads are divided between them.

    Args:
        device: the `device` key that the runs share.
        count: `hydra.launcher.slots`, "auto" or a number.

    Raises:
        UserError: `count` is neither, or more than the GPUs there are.
    """
    if count != "auto" and not (isinstance(count, int) and count > 0):
        raise UserError(f"hydra.launcher.slots={count} is impossible; allowed: auto or a whole number above 0")
    cores, gpus = usable_cores(), _gpus() if device != "cpu" else []
    if gpus and device.startswith("cuda:"):
        gpus = gpus[int(device[5:]) :][:1]
    if gpus:
        wanted = len(gpus) if count == "auto" else int(count)
        if wanted > len(gpus):
            raise UserError(f"hydra.launcher.slots={count} is more than the {len(gpus)} GPUs of this machine")
        used = gpus[: min(wanted, runs)]
        return [Slot(gpu, max(1, cores // len(used))) for gpu in used]
    wanted = min(cores if count == "auto" else int(count), runs)
    return [Slot(None, max(1, cores // wanted))] * wanted


def _gpus() -> list[str]:
    count = gpu_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(index) for index in range(count)] if visible is None else visible.split(",")
    return [name.strip() for name in names][:count]


def gpu_count() -> int:
    """GPUs that torch can use; CUDA_VISIBLE_DEVICES may name some that are not there."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
