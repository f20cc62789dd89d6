"""SGD with one parameter group per block, so that each block has its own cosine (SpFDE section 4.2.1)."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from spfde_exp.cost.layers import block_of
from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.schema import Optim


def cosine(lr: float, end_lr: float, progress: float) -> float:
    """Learning rate at `progress` in [0, 1] of a cosine from `lr` to `end_lr`."""
    return end_lr + (lr - end_lr) / 2 * (1 + math.cos(math.pi * progress))


class BlockSGD:
    """The optimiser of a run: leaves frozen blocks out and steps each block along its own cosine.

    Attributes:
        sgd: the torch optimiser.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[tuple[str, Sequence[str]]], optim: Optim) -> None:
        """Group the parameters of `model` by block; those in no block (the classifier) come last."""
        self.optim = optim
        members: list[list[nn.Parameter]] = [[] for _ in range(len(blocks) + 1)]
        for name, parameter in model.named_parameters():
            block = block_of(name, blocks)
            members[-1 if block is None else block].append(parameter)
        groups = [
            {"params": parameters, "block": index if index < len(blocks) else None}
            for index, parameters in enumerate(members)
            if parameters
        ]
        self.sgd = torch.optim.SGD(
            groups,
            lr=optim.lr,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            nesterov=optim.nesterov,
            foreach=True,
        )
        self._groups = list(self.sgd.param_groups)

    def start_epoch(self, plan: FreezePlan, epoch: int) -> float:
        """Set each block's learning rate and drop the blocks that `plan` freezes, with their momentum.

        Returns:
            The learning rate of what is never frozen.
        """
        for group in self._groups:
            # The part that is never frozen is active in every epoch, as a block behind all others.
            block = len(plan.blocks) if group["block"] is None else group["block"]
            group["lr"] = cosine(self.optim.lr, self.optim.end_lr, plan.progress(block, epoch))
            if plan.is_frozen(block, epoch):
                for parameter in group["params"]:
                    parameter.grad = None
                    self.sgd.state.pop(parameter, None)
        self.sgd.param_groups[:] = [
            group for group in self._groups if group["block"] is None or not plan.is_frozen(group["block"], epoch)
        ]
        return float(self._groups[-1]["lr"])

    def momentum(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Parameter name -> momentum buffer, of what is trained."""
        state = {name: self.sgd.state.get(p, {}).get("momentum_buffer") for name, p in model.named_parameters()}
        return {name: buffer for name, buffer in state.items() if buffer is not None}

    def load_momentum(self, model: nn.Module, saved: dict[str, torch.Tensor]) -> None:
        """Put back what `momentum` gave."""
        for name, parameter in model.named_parameters():
            if name in saved:
                self.sgd.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(saved[name])
