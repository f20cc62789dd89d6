"""What the benchmarks time: the product's own trainer on CIFAR-100 or on random data of its shape."""

import ctypes
import os
import platform
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the scripts also run in a checkout that is not installed

from spfde_exp.config import compose  # noqa: E402
from spfde_exp.data import Dataset, load  # noqa: E402
from spfde_exp.freeze.plan import FreezePlan  # noqa: E402
from spfde_exp.plan import build_model, make_plan  # noqa: E402
from spfde_exp.run_plan import RunPlan  # noqa: E402
from spfde_exp.train.trainer import Trainer  # noqa: E402

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h> of glibc


def common_options(parser: ArgumentParser) -> None:
    """Add the options that the scripts share; its description is shown as it is written."""
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("--model", default="resnet32")
    parser.add_argument("--width", type=float, default=2, help="channels are multiplied by this")
    parser.add_argument("--batch", type=int, default=32, help="examples per step")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:n")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--data", help="folder that holds cifar-100-python; random images without it")


def images(examples: int, root: str | None) -> Dataset:
    """`examples` training images of CIFAR-100 from the folder `root`; random ones of its shape for None."""
    if root is not None:
        real = load("cifar100", root, subset=max(examples, 100))  # balanced ones are at least one of each class
        assert isinstance(real, Dataset)
        return real.take(torch.arange(examples), None, None)
    random = torch.Generator().manual_seed(0)
    x = torch.randint(256, (examples, 3, 32, 32), dtype=torch.uint8, generator=random)
    y = torch.randint(100, (examples,), generator=random)
    return Dataset(
        "cifar100",
        x,
        y,
        x[:100],
        y[:100],
        num_classes=100,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        scale=255.0,
        checksum="random",
    )


def trainer_for(overrides: Sequence[str], dataset: Dataset, device: torch.device, frozen: int | None = None) -> Trainer:
    """The product's trainer as `spfde_exp.run` makes it, on `dataset`.

    Args:
        overrides: as on the command line, on top of recipe=cifar100 (for digits, dataset=digits too).
        frozen: leading blocks that rest from epoch 1 on, in place of the plan's.
    """
    config = compose(["recipe=cifar100", "logger=none", f"dataset.subset={len(dataset.train_y)}", *overrides])
    torch.manual_seed(config.seed)
    model = build_model(config)
    plan = make_plan(config, model)
    if frozen is not None:
        depths = (0, *[frozen] * (plan.epochs - 1))
        plan = replace(plan, freeze=FreezePlan(depths, plan.freeze.blocks, plan.freeze.shares))
    trainer = Trainer(config, plan, model, dataset.to(device), device)
    trainer.begin()
    return trainer


def settings(arguments: Namespace, *more: str) -> list[str]:
    """Overrides for the network and batch that `common_options` were given, at 90 % sparsity."""
    return [
        f"model={arguments.model}", f"model.width={arguments.width}", f"optim.batch_size={arguments.batch}",
        "method=mest_ems", "sparsity=0.9", "freeze=none", *more,
    ]  # fmt: skip


def size(arguments: Namespace) -> str:
    """The network and batch that `common_options` were given, in words."""
    return f"{arguments.model} width {arguments.width:g}, batch {arguments.batch}"


def plan_of(overrides: Sequence[str]) -> RunPlan:
    """What a run with `overrides` on recipe=cifar100 would do."""
    return make_plan(compose(["recipe=cifar100", "logger=none", *overrides]))


def resting(overrides: Sequence[str], dataset: Dataset, device: torch.device, frozen: int = 0) -> Callable[[], None]:
    """An epoch of `Trainer.train_epoch` with `frozen` leading blocks at rest since an epoch before, again and again.

    So it is none of the epochs in which one step is slower because its memory is measured.
    """
    trainer = trainer_for(overrides, dataset, device, frozen)
    for epoch in (0, 1):
        trainer.start_epoch(epoch)

    def epoch_and_wait() -> None:
        trainer.train_epoch(2)
        wait(device)

    return epoch_and_wait


def keep_memory() -> None:
    """Free memory stays in the process, as it does between the steps of a run, which hold other memory above it.

    Else glibc gives it back after each call of a single layer, and the system clears its pages for the next.
    """
    tell_malloc(M_TRIM_THRESHOLD, 2**31 - 1)
    tell_malloc(M_MMAP_MAX, 0)


def tell_malloc(parameter: int, value: int) -> None:
    """Set a parameter of glibc's memory allocation; nothing happens where there is another one."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(parameter, value)


def wait(device: torch.device) -> None:
    """Return when `device` has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device) -> str:
    """Device, cores, load and versions, in one line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return (
        f"{device.type} ({name}), {len(os.sched_getaffinity(0))} cores with load {os.getloadavg()[0]:.1f}, "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}"
    )
