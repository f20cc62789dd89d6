"""A model whose masked convolutions compute with their non-zeros only, in the layout of the engine."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from spfde_exp.engine.layers import can_convolve
from spfde_exp.engine.rewrite import rewritten, traced
from spfde_exp.engine.structures import Structures
from spfde_exp.models.base import BlockModel
from spfde_exp.models.custom import CustomModel
from spfde_exp.models.part import Part

__all__ = ["SparseNetwork", "sparse_layers"]

# Weights of a filter up to which a convolution without mask is faster as if it had one: that of the images, whose few
# channels fill no vectors in other layouts.
SMALL_FILTER = 27
KEPT = 16  # networks: some depths of the frozen prefix, in two parts each
EVALUATED = 64  # images at once: larger tensors, each made anew by every layer, leave the cache before they are read

Network = Callable[[Tensor], Tensor]


class SparseNetwork:
    """Computes what `model` does, to rounding, with its own parameters, buffers and hooks of convolutions.

    A network is rewritten for the depth of the frozen prefix, the modes of the modules, and the layers that are to be
    sparse. Masks may change at any time.

    Attributes:
        layers: those that are sparse.
    """

    def __init__(self, model: BlockModel, kept: Mapping[str, Tensor]) -> None:
        """Stand for `model`, on the CPU, with the masks `kept` (`Masks.kept`).

        Raises:
            ValueError: the model cannot be traced.
        """
        groups = {name: module.groups for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
        self.model, self.structures = model, Structures(kept, groups)
        self._made: dict[tuple[object, ...], Network] = {}
        self.layers, self._depth = frozenset[str](), 0
        traced(Part(model, 0, leading=False))

    def prepare(self, frozen: int, layers: frozenset[str]) -> None:
        """Get ready to train with the `frozen` leading blocks at rest, in the modes that the modules are in now.

        Args:
            layers: convolutions that are to be sparse, all of which `can_convolve`.
        """
        self.layers, self._depth = layers, frozen

    def __call__(self, x: Tensor, dense: bool = False) -> Tensor:
        """Logits [B, num_classes] of images x [B, C, H, W].

        Args:
            dense: compute what trains by the model itself, so that masked weights get their gradients.
        """
        model, depth = self.model, self._depth
        if isinstance(model, CustomModel):
            if dense:
                return model(x, frozen=depth)
            model.freeze(depth)
        elif depth:
            with torch.no_grad():
                x = self._network(depth, leading=True)(x)
        return model.rest(x, depth) if dense else self._network(depth, leading=False)(x)

    def evaluated(self, x: Tensor) -> Tensor:
        """Logits of images `x` in evaluation mode, which the model is in; hooks see parts of `EVALUATED` images."""
        network = self._network(0, leading=False)
        return torch.cat([network(part) for part in x.split(EVALUATED)])

    def _network(self, blocks: int, *, leading: bool) -> Network:
        key = blocks, leading, self.model.training, self.layers
        if key not in self._made:
            if len(self._made) >= KEPT:
                self._made.clear()
            module = traced(Part(self.model, blocks, leading=leading))
            self._made[key] = rewritten(module, self.layers, self.structures)
        return self._made[key]


def sparse_layers(model: nn.Module, kept: Mapping[str, Tensor]) -> frozenset[str]:
    """Names of the convolutions that have something to gain: those with masked weights, and with them that of images.

    Empty where no weight is masked, or no convolution with masked weights `can_convolve`.
    """
    convs = {name: module for name, module in model.named_modules() if can_convolve(module)}
    masked = {name for name in convs if name in kept and not bool(kept[name].all())}
    small = {n for n, c in convs.items() if n not in kept and c.get_parameter("weight")[0].numel() <= SMALL_FILTER}
    return frozenset(masked | small if masked else ())
