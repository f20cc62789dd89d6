"""Whether and how a run computes with the sparse engine (`engine`)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from spfde_exp.engine.layers import can_convolve
from spfde_exp.engine.network import SparseNetwork, sparse_layers
from spfde_exp.errors import UserError
from spfde_exp.models.base import BlockModel
from spfde_exp.schema import Config


class SparseEngine:
    """The sparse engine for a training run: which layers it computes, epoch by epoch."""

    def __init__(self, network: SparseNetwork, kept: Mapping[str, Tensor]) -> None:
        """Train by `network`, whose masks are `kept`."""
        self.network, self.kept = network, kept

    def prepare(self, frozen: int) -> bool:
        """Get ready for an epoch with the `frozen` leading blocks at rest, the modules in their modes.

        Returns:
            Whether the engine has something to gain in it; it is not to be used otherwise.
        """
        layers = sparse_layers(self.network.model, self.kept)
        self.network.prepare(frozen, layers)
        return bool(layers)


def make_engine(
    config: Config, model: BlockModel, kept: Mapping[str, Tensor], device: torch.device
) -> SparseEngine | None:
    """What `engine` asks for; None for a run that is to be dense, or has nothing masked.

    Raises:
        UserError: engine=sparse, where the device or the model leave nothing that could be.
    """
    if config.engine == "dense" or config.precision == "bf16" or config.compile or not kept:
        return None
    problem = f"it computes on CPUs, not on {device.type}; use device=cpu" if device.type != "cpu" else ""
    convs = (name for name, module in model.named_modules() if can_convolve(module))
    if not problem and kept.keys().isdisjoint(convs):
        problem = "none of the masked layers is an ungrouped square convolution of stride 1 or 2; use engine=dense"
    try:
        if not problem:
            return SparseEngine(SparseNetwork(model, kept), kept)
    except ValueError as error:
        problem = f"{error}; use engine=dense"
    if config.engine == "auto":
        return None
    raise UserError(f"engine=sparse is impossible: {problem}")
