"""The optimiser's step on all that trains by one compiled loop."""

import torch
from torch import Tensor, nn

from spfde_exp.engine.descent import Layer, descend

__all__ = ["fused_step"]


def fused_step(optimizer: torch.optim.Optimizer) -> list[tuple[nn.Parameter, Tensor]]:
    """Make a step of all that have gradients, and take these away from `optimizer`, which is left with the rest.

    The rest are those whose gradients lie otherwise in memory, and those that are not of float32: a user's own model
    may have parameters of several types. Without momentum, all are.

    Args:
        optimizer: SGD, of parameters on the CPU.

    Returns:
        Parameters and the gradients taken, to be put back.
    """
    settings = optimizer.param_groups[0]
    taken: list[tuple[nn.Parameter, Tensor]] = []
    if not settings["momentum"]:
        return taken
    layers: list[Layer] = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None or parameter.dtype != torch.float32:
                continue
            speed = optimizer.state[parameter].get("momentum_buffer")
            if speed is None:
                speed = optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            if parameter.stride() == speed.stride() == gradient.stride():
                layers.append(Layer(parameter, speed, gradient, group["lr"]))
                taken.append((parameter, gradient))
                parameter.grad = None
    descend(layers, momentum=settings["momentum"], decay=settings["weight_decay"], nesterov=settings["nesterov"])
    return taken
