"""Forward cost of every weight layer, measured from the model itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spfde_exp.errors import UserError
from spfde_exp.sparse.layers import weight_layers


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer.

    Attributes:
        name: its name in the model.
        block: index of the block it belongs to; None for a layer in no block (the classifier).
        weights: number of weights, without bias.
        positions: how often each weight is used per example; weights x positions = MACs.
        outputs: output elements per example.
        shape: shape of the weight, filters first.
        groups: of a convolution; the filters of each read channels of their own.
    """

    name: str
    block: int | None
    weights: int
    positions: int
    outputs: int
    shape: tuple[int, ...] = ()
    groups: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one dense forward pass of one example."""
        return self.weights * self.positions


def block_of(name: str, blocks: Sequence[tuple[str, Sequence[str]]]) -> int | None:
    """Index of the block that holds the module or parameter `name`, None if none does."""
    for index, (_, members) in enumerate(blocks):
        if any(name == member or name.startswith(f"{member}.") for member in members):
            return index
    return None


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Whatever is done within, each module is in its mode (training or evaluation) again afterwards."""
    modes = [module.training for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in zip(model.modules(), modes, strict=True):
            module.training = mode


def run_example(model: nn.Module, example_shape: Sequence[int]) -> Tensor:
    """What `model` gives for one black image of `example_shape` (C, H, W), in evaluation mode; it stays as it was.

    Raises:
        UserError: it cannot take such images.
    """
    image = torch.zeros(1, *example_shape, device=next(model.parameters(), torch.zeros(0)).device)
    with modes_kept(model):
        try:
            logits: Tensor = model.eval()(image)
            return logits
        except UserError:
            raise
        except Exception as error:
            size = "x".join(map(str, example_shape))
            told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise UserError(
                f"the model cannot take images of {size} (channels x height x width): {told}; choose another model or "
                "data set"
            ) from error


def measure_layers(
    model: nn.Module, example_shape: Sequence[int], blocks: Sequence[tuple[str, Sequence[str]]]
) -> list[Layer]:
    """Run one example of `example_shape` (C, H, W) through `model` and look at what each layer does.

    Layers are in definition order. The model's mode and buffers are left as they were.

    Raises:
        UserError: the model cannot take such images, or has no convolution or linear layer.
    """
    found: dict[str, tuple[int, int]] = {}
    handles = []
    for name, module in weight_layers(model).items():
        out_features = module.weight.shape[0]

        def look(_: nn.Module, __: object, out: Tensor, name: str = name, features: int = out_features) -> None:
            seen_positions, seen_outputs = found.get(name, (0, 0))
            found[name] = (seen_positions + out.numel() // features, seen_outputs + out.numel())

        handles.append(module.register_forward_hook(look))
    if not handles:
        raise UserError("the model has no convolution and no linear layer: its FLOPs cannot be counted")
    try:
        with torch.no_grad():
            run_example(model, example_shape)
    finally:
        for handle in handles:
            handle.remove()
    return [
        Layer(
            name,
            block_of(name, blocks),
            m.weight.numel(),
            *found.get(name, (0, 0)),
            tuple(m.weight.shape),
            m.groups if isinstance(m, nn.Conv2d) else 1,
        )
        for name, m in weight_layers(model).items()
    ]
