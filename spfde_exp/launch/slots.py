"""How many runs this machine takes at once, and what each may use."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from spfde_exp.errors import UserError
from spfde_exp.machine import core_ids
from spfde_exp.schema import Config


@dataclass(frozen=True)
class Slot:
    """A place for one run.

    Attributes:
        gpu: its entry of CUDA_VISIBLE_DEVICES, None on the CPU.
        threads: CPU threads it may use.
        parts: names of what it takes of the machine; two slots with a common part are never in use at once.
        shared: name of the device that it shares with other slots; one that has it for itself has it in `parts`.
        packed: runs that share its device, itself included.
    """

    gpu: str | None
    threads: int
    parts: tuple[str, ...]
    shared: str | None = None
    packed: int = 1


def find_slots(device: str, count: int | str, runs: int, runs_per_device: int = 1) -> list[Slot]:
    """The slots for a sweep of `runs` runs: one per GPU, else one per core; threads are divided between them.

    Args:
        device: the `device` key that the runs share.
        count: `hydra.launcher.slots`, "auto" or a number of devices (GPUs, or CPU slots).
        runs_per_device: runs packed on each device.

    Raises:
        UserError: a number is neither, or more than the GPUs there are.
    """
    if count != "auto" and not _positive(count):
        raise UserError(f"hydra.launcher.slots={count} is impossible; allowed: auto or a whole number above 0")
    if not _positive(runs_per_device):
        raise UserError(f"hydra.launcher.runs_per_device={runs_per_device} is impossible; allowed: 1, 2, 3, ...")
    ids, gpus = core_ids(), _gpus() if device != "cpu" else []
    cores = len(ids)
    if gpus and device.startswith("cuda:"):
        gpus = gpus[int(device[5:]) :][:1]
    if gpus:
        wanted = len(gpus) if count == "auto" else int(count)
        if wanted > len(gpus):
            raise UserError(f"hydra.launcher.slots={count} is more than the {len(gpus)} GPUs of this machine")
        places = [(gpu, place) for place in range(runs_per_device) for gpu in gpus[:wanted]][:runs]
        threads = max(1, cores // len(places))
        return [_gpu_slot(gpu, place, threads, runs_per_device) for gpu, place in places]
    wanted = min(runs_per_device * (cores if count == "auto" else int(count)), runs)
    threads = max(1, cores // wanted)
    names = [f"cpu-{core}" for core in ids] + [f"cpu-more-{place}" for place in range(wanted * threads - cores)]
    return [
        Slot(None, threads, tuple(names[place * threads : (place + 1) * threads]), packed=runs_per_device)
        for place in range(wanted)
    ]


def check_devices(configs: Sequence[Config]) -> None:
    """Raise UserError if a run asks for a device that this machine has not."""
    from spfde_exp.train.device import choose_device

    for device in {config.device for config in configs}:
        choose_device(device)


def _gpu_slot(gpu: str, place: int, threads: int, packed: int) -> Slot:
    device = f"gpu-{gpu}"
    if packed == 1:
        return Slot(gpu, threads, (device,))
    return Slot(gpu, threads, (f"{device}-{place}",), shared=device, packed=packed)


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _gpus() -> list[str]:
    count = gpu_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(index) for index in range(count)] if visible is None else visible.split(",")
    return [name.strip() for name in names][:count]


def gpu_count() -> int:
    """GPUs that torch can use; CUDA_VISIBLE_DEVICES may name some that are not there."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
