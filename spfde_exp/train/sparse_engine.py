"""Whether and how a run computes with the sparse engine (`engine`)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from spfde_exp.engine.layers import can_convolve
from spfde_exp.engine.network import SparseNetwork, sparse_layers
from spfde_exp.engine.pool import release
from spfde_exp.errors import UserError
from spfde_exp.models.base import BlockModel
from spfde_exp.schema import Config
from spfde_exp.train.device import check_engine
from spfde_exp.train.engine_choice import STEPS, Logits, fastest_layers

SHARE = 0.01  # of a run's steps that engine=auto may spend on trying

Dense = Callable[[BlockModel, int], Logits]


class SparseEngine:
    """The sparse engine in a training run, for all layers that have masked weights (``engine=sparse``).

    Attributes:
        network: computes the logits.
    """

    def __init__(self, network: SparseNetwork, kept: Mapping[str, Tensor]) -> None:
        """Train by `network`, whose masks are `kept`."""
        self.network, self.kept = network, kept

    def prepare(self, frozen: int) -> bool:
        """Get ready for an epoch with the `frozen` leading blocks at rest, the modules in their modes.

        Returns:
            Whether it is to be used in it.
        """
        layers = self.layers(frozen)
        self.network.prepare(frozen, layers)
        return bool(layers)

    def layers(self, frozen: int) -> frozenset[str]:
        """Convolutions that are to be sparse in such an epoch."""
        return sparse_layers(self.network.model, self.kept)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs; plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave, perhaps that of another engine."""


class FasterEngine(SparseEngine):
    """The sparse engine for the layers, and in the epochs, in which it is faster than PyTorch (``engine=auto``).

    It tries again when the density of a layer or the frozen prefix is another, as long as that takes no more than
    `SHARE` of the run's steps in all; after that it keeps to what it knows. A resumed run goes on with the same choice.
    """

    def __init__(
        self, network: SparseNetwork, kept: Mapping[str, Tensor], batch: tuple[int, ...], steps: int, dense: Dense
    ) -> None:
        """Train by `network` or without.

        Args:
            batch: shape of a batch, (B, C, H, W).
            steps: of the run.
            dense: makes what computes the logits of a model with so many blocks at rest, without the engine.
        """
        super().__init__(network, kept)
        self.batch, self.dense = batch, dense
        self.tries = int(SHARE * steps / STEPS)
        self._tried = ""  # in which situation
        self._faster = frozenset[str]()

    def layers(self, frozen: int) -> frozenset[str]:
        candidates = super().layers(frozen)
        densities = [(name, round(float(mask.double().mean()), 2)) for name, mask in self.kept.items()]
        situation = repr((frozen, densities))
        if situation != self._tried and self.tries and candidates:
            self._tried, self.tries = situation, self.tries - 1
            self._faster = fastest_layers(self.network.model, self.kept, candidates, self.batch, frozen, self.dense)
            release()  # what the trials took, as training may be dense
        return self._faster & candidates

    def state_dict(self) -> dict[str, Any]:
        return {"faster": sorted(self._faster), "tried": self._tried, "tries": self.tries}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self._faster, self._tried, self.tries = frozenset(state["faster"]), state["tried"], state["tries"]


def make_engine(
    config: Config,
    model: BlockModel,
    kept: Mapping[str, Tensor],
    device: torch.device,
    batch: tuple[int, ...],
    steps: int,
    dense: Dense,
) -> SparseEngine | None:
    """What `engine` asks for; None for a run that is to be dense, or has nothing masked.

    Args:
        batch, steps, dense: see `FasterEngine`.

    Raises:
        UserError: engine=sparse, where the device or the model leaves nothing that could be.
    """
    excluded = config.precision == "bf16" or config.compile or (config.engine == "auto" and device.type != "cpu")
    if config.engine == "dense" or excluded or not kept:
        return None
    auto = config.engine == "auto"
    check_engine(config.engine, device)
    try:
        if kept.keys().isdisjoint(name for name, module in model.named_modules() if can_convolve(module)):
            raise ValueError("none of the masked layers is a square convolution of stride 1 or 2")
        network = SparseNetwork(model, kept)
    except ValueError as error:
        if auto:
            return None
        raise UserError(f"engine=sparse is impossible with this model: {error}; use engine=dense") from error
    return FasterEngine(network, kept, batch, steps, dense) if auto else SparseEngine(network, kept)
