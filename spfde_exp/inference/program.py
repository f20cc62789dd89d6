"""A trained network as a program that needs nothing but torch."""

import copy
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spfde_exp.inference.fold import folded
from spfde_exp.inference.shrink import shrunk
from spfde_exp.models.base import BlockModel

# Larger differences of the outputs, as a share of the largest, are no rounding (which stays below 1e-5).
ANOTHER = 1e-3


@dataclass(frozen=True)
class Program:
    """What a trained network becomes.

    Attributes:
        network: in evaluation mode, with batch norm folded and dead channels left out as far as that is possible.
        folded: the same with all channels; None where `network` is the model as it is.
        content: of a file for ``torch.export.load``; None where torch cannot export the model.
        trouble: why it cannot be traced, or not exported; empty where it can.
        difference: largest difference of the outputs from the model's, as a share of its largest.
    """

    network: nn.Module
    folded: nn.Module | None
    content: bytes | None
    trouble: str
    difference: float

    def loaded(self) -> nn.Module | None:
        """The program as others load it; None where there is none."""
        return None if self.content is None else _load(self.content)


def program(model: BlockModel, image: tuple[int, int, int]) -> Program:
    """The program of `model`, which stays as it is, for images of shape `image` (C, H, W) in batches of any size."""
    plain = copy.deepcopy(model).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    trouble = ""
    try:
        whole = folded(model)
        network: nn.Module = shrunk(whole, image)
        if _difference(plain, network, image) > ANOTHER:  # code that traces, and then is not the same
            raise ValueError(f"{type(model).__name__} is another function when traced")
    except (ValueError, RuntimeError) as error:  # it cannot be traced; or it can, and then does not run
        network, whole, trouble = plain, None, " ".join(str(error).split())[:200]
    try:
        content = _exported(network, image)
        difference = _difference(plain, _load(content), image)
        if difference > ANOTHER:
            raise ValueError(f"{type(model).__name__} is another function when exported")
    except Exception as error:  # whatever torch trips over in the model's own code
        told = " ".join(str(error).split())[:200]
        return Program(plain, None, None, f"torch cannot export it: {type(error).__name__}: {told}", 0.0)
    return Program(network, whole, content, trouble, difference)


@torch.no_grad()
def _exported(network: nn.Module, image: Sequence[int]) -> bytes:
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(network, (torch.zeros(2, *image),), dynamic_shapes=({0: batch},))
        file = io.BytesIO()
        torch.export.save(exported, file)
    return file.getvalue()


def _load(content: bytes) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(io.BytesIO(content)).module()


@torch.no_grad()
def _difference(plain: nn.Module, other: nn.Module, image: Sequence[int]) -> float:
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for size in (1, 7):
        x = torch.randn(size, *image, generator=generator)
        expected: Tensor = plain(x)
        scale = max(float(expected.abs().max()), torch.finfo(expected.dtype).tiny)
        worst = max(worst, float((other(x) - expected).abs().max()) / scale)
    return worst
