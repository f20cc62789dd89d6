"""How a run computes its logits: frozen blocks as inference, the others for training, in the precision asked for."""

import logging
from collections.abc import Callable, Collection
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from spfde_exp.inference.fold import folded
from spfde_exp.inference.shrink import shrunk
from spfde_exp.models.base import BlockModel
from spfde_exp.models.part import NET
from spfde_exp.schema import Freeze
from spfde_exp.train.device import autocast

if TYPE_CHECKING:  # it loads a compiler, which only runs that use it are to wait for
    from spfde_exp.train.sparse_engine import SparseEngine

log = logging.getLogger(__name__)

# Folding rounds differently, and training makes more of that the more of the network trains, and the faster; what it
# gains there, a few percent of a step, would not pay for runs that cannot be compared (benchmarks/equal.py).
FOLDED_FROM = Fraction(2, 3)  # of the blocks


class Forward:
    """The forward pass of training, whose frozen blocks have batch norm folded into their convolutions.

    Not while few of them rest: see `FOLDED_FROM`.

    Attributes:
        model: the network, on its device.
        prefix: what computes the frozen blocks; None where there are none, or `model` itself does.
        compiled: whether to compute with what torch.compile makes of it all.
        engine: computes with the non-zeros only, in epochs in which it has something to gain; None to do without.
        dense: whether the gradients of masked weights are wanted in the next step, which the engine does not make.
    """

    def __init__(
        self,
        model: BlockModel,
        device: torch.device,
        precision: str,
        freeze: Freeze,
        image: tuple[int, int, int] | None = None,
    ) -> None:
        """The forward pass of `model`, nothing frozen.

        Args:
            precision: of the arithmetic, ``fp32``, ``tf32`` or ``bf16``.
            freeze: whether frozen batch norms rest too or go on, which cannot be folded (`bn`), and whether to fold
                where it can be done and is worth it (`fold`).
            image: (C, H, W) of one where masks leave whole channels out, so that folded blocks can do without, however
                few; None elsewhere.
        """
        self.model, self.device, self.precision = model, device, precision
        self.engine: SparseEngine | None = None
        self.dense = self._by_engine = False
        self.rests = freeze.bn == "eval"
        self.fold = freeze.fold and self.rests and model.chained
        self.image = image
        self.compiled = False
        self.prefix: fx.GraphModule | None = None
        self._depth = self._fold_depth = 0
        self._compiled: Callable[[Tensor], Tensor] | None = None

    def prepare(self, frozen: int) -> None:
        """Set the modes for training with the `frozen` leading blocks at rest, and fold them if they are others now.

        Blocks that stay at rest must not change; call `forget` where they did.
        """
        self.model.train()
        if self.rests:
            cold = {member for _, members in self.model.blocks()[:frozen] for member in members}
            for name, module in self.model.named_modules():
                if name in cold:  # what is not a module's name is a parameter's
                    module.eval()
        self._by_engine = self.engine is not None and self.engine.prepare(frozen)
        folded = frozen if self.folds(frozen) and not self._by_engine else 0
        if folded != self._fold_depth:
            self.prefix, self._fold_depth = self._folded(folded), folded
        if frozen != self._depth:
            self._depth, self._compiled = frozen, None

    def folds(self, frozen: int) -> bool:
        """Whether the `frozen` leading blocks are folded, where no engine computes them."""
        enough = self.image is not None or frozen >= FOLDED_FROM * len(self.model.blocks())
        return self.fold and frozen > 0 and enough

    def _folded(self, frozen: int) -> fx.GraphModule | None:
        if not frozen:
            return None
        try:
            prefix = folded(self.model, frozen)
            return shrunk(prefix, self.image) if self.image else prefix
        except ValueError as error:
            log.warning("frozen blocks run as they are, which is slower: %s", error)
            self.fold = False
            return None

    @property
    def resting(self) -> nn.Module | None:
        """The layers of `prefix`, under their names in the model."""
        return self.prefix.get_submodule(NET) if self.prefix else None

    def forget(self) -> None:
        """The weights are others now: fold anew with the next `prepare`."""
        self.prefix, self._depth, self._fold_depth, self._compiled = None, 0, 0, None

    def __call__(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes] of images x [B, C, H, W], with the blocks at rest that `prepare` was told."""
        if not self.compiled:
            return self._logits(x)
        if self._compiled is None:
            torch.compiler.reset()  # what was compiled for other frozen blocks
            self._compiled = torch.compile(self._logits, dynamic=False)
        return self._compiled(x)

    @property
    def masked_gradients(self) -> Collection[str]:
        """Layers of which the next step gives no gradients to masked weights."""
        return self.engine.network.layers if self.engine and self._by_engine and not self.dense else ()

    def evaluated(self, x: Tensor) -> Tensor:
        """Logits of images x [B, C, H, W] in evaluation mode, which the model is in."""
        if self._by_engine:
            assert self.engine is not None
            return self.engine.network.evaluated(x)
        with autocast(self.device, self.precision):
            logits: Tensor = self.model(x)
        return logits

    def _logits(self, x: Tensor) -> Tensor:
        if self._by_engine:
            assert self.engine is not None
            return self.engine.network(x, self.dense)
        with autocast(self.device, self.precision):
            if self.prefix is None:
                logits: Tensor = self.model(x, frozen=self._depth)
                return logits
            with torch.no_grad():
                x = self.prefix(x)
            return self.model.rest(x, self._depth)
