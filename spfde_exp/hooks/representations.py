"""What the layers of a model make of some fixed images."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spfde_exp.hooks.cka import Kernel
from spfde_exp.train.rng import generator


def probe_indices(labels: Tensor, count: int) -> Tensor:
    """Indices of `count` examples, int64, ascending, as many of each class as possible; all where there are fewer.

    The same ones for every run of a data set: the draw has a seed of its own.
    """
    order = torch.randperm(len(labels), generator=generator(0, "probe"))
    drawn = labels.cpu()[order]
    turn = torch.zeros_like(drawn)
    for label in drawn.unique():
        same = drawn == label
        turn[same] = torch.arange(int(same.sum()))
    return order[turn.sort(stable=True).indices[:count]].sort().values


class Representations:
    """The kernels of the outputs of some layers, in evaluation mode, for any state of a model."""

    def __init__(self, model: nn.Module, layers: Sequence[str], images: Tensor) -> None:
        """Look at the outputs of `layers` (names of submodules) on `images` [n, C, H, W], as the model takes them."""
        self.model, self.layers, self.images = model, list(layers), images

    @torch.no_grad()
    def kernels(self, state: Mapping[str, Tensor]) -> dict[str, Kernel]:
        """Layer -> kernel with the parameters and buffers of `state`; the model itself stays as it is."""
        found: dict[str, Kernel] = {}
        handles = [
            self.model.get_submodule(name).register_forward_hook(
                lambda _, __, out, name=name: found.__setitem__(name, Kernel(out.float()))
            )
            for name in self.layers
        ]
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            functional_call(self.model, dict(state), (self.images,))
        finally:
            for handle in handles:
                handle.remove()
            for module in training:
                module.training = True
        return found
