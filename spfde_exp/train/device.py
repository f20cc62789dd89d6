"""Where a run computes, and the settings that make it the same every time."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from spfde_exp.errors import UserError
from spfde_exp.machine import usable_cores


def choose_device(name: str) -> torch.device:
    """The device that `device=` names; auto takes the first GPU where there is one.

    Raises:
        UserError: the GPU does not exist.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda:0" if available else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= available:
        raise UserError(f"device={name} is not there: this machine has {available} usable GPUs; use device=cpu")
    return device


def has_compiler() -> bool:
    """Whether there is the C++ compiler that torch.compile needs on a CPU."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def check_compiler(device: torch.device) -> None:
    """Whether torch.compile has what it needs.

    Raises:
        UserError: on a CPU, there is no C++ compiler.
    """
    if device.type == "cpu" and not has_compiler():
        raise UserError("compile=true needs a C++ compiler on a CPU: install g++, name another in CXX, or leave it out")


def check_engine(engine: str, device: torch.device) -> None:
    """Whether the engine can compute there.

    Raises:
        UserError: engine=sparse on a GPU.
    """
    if engine == "sparse" and device.type != "cpu":
        raise UserError(
            f"engine=sparse computes on CPUs, not on {device.type}; use device=cpu, or engine=auto or dense"
        )


def choose_threads(value: int | str) -> int:
    """CPU threads of one run; auto takes every usable core."""
    return usable_cores() if value == "auto" else int(value)


@contextmanager
def exact(threads: int, precision: str) -> Iterator[None]:
    """Deterministic kernels, a fixed number of threads and the arithmetic of `precision`; undone on leaving.

    Raises:
        UserError: what was done within has no deterministic kernel on its device, or trains batch norm on one value.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    torch.set_num_threads(threads)
    # The same switch as use_deterministic_algorithms, without its two seconds of compiler imports.
    torch.set_deterministic_debug_mode("error")
    memory: Any = torch.utils.deterministic
    filled, memory.fill_uninitialized_memory = memory.fill_uninitialized_memory, False  # nothing here reads it
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = False
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if found := re.match(r"(\S+) does not have a deterministic implementation", str(error)):
            raise UserError(
                f"the model uses {found[1]}, which is not deterministic on this device: no run could be repeated; "
                "replace that layer (an adaptive average pool by a mean), or use device=cpu"
            ) from error
        if str(error).startswith("Expected more than 1 value per channel when training"):
            raise UserError(
                "the last batch of an epoch is a single example, on which batch norm of 1x1 maps cannot train; change "
                "optim.batch_size, dataset.subset or sieve so that more are left over, or none"
            ) from error
        raise
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        memory.fill_uninitialized_memory = filled
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = tf32


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """bf16 arithmetic where `precision` asks for it; weights and optimiser stay fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
