"""SGD with one parameter group per block, so that each block has its own annealing (SpFDE section 4.2.1)."""

import inspect
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from spfde_exp.cost.layers import block_of
from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.schema import Optim

STEP_FACTOR = 0.1  # of a step of the step schedule
_PLAIN_STEP = inspect.unwrap(torch.optim.SGD.step)


def cosine(lr: float, end_lr: float, progress: float) -> float:
    """Learning rate at `progress` in [0, 1] of a cosine from `lr` to `end_lr`."""
    return end_lr + (lr - end_lr) / 2 * (1 + math.cos(math.pi * progress))


def learning_rate(optim: Optim, epoch: int, progress: float, warmed_up: float) -> float:
    """Learning rate of a part of the network during `epoch`; constant within an epoch, as in the papers.

    It rises linearly over the warm-up, to `optim.lr` in its last epoch, as in the recipe that MEST's ImageNet settings
    come from (Table G.1; NVIDIA's ResNet-50 v1.5). The cosine then takes what is left of training; the steps of a
    step schedule are shares of all of it.

    Args:
        progress: share of the part's training that lies before `epoch` (`FreezePlan.progress`).
        warmed_up: the same at the end of the warm-up.
    """
    if epoch < optim.warmup_epochs:
        return optim.lr * (epoch + 1) / optim.warmup_epochs
    if optim.schedule == "step":
        return optim.lr * STEP_FACTOR ** sum(progress >= step for step in optim.steps)
    left = 1 - warmed_up  # none in a part that rests from before the end of the warm-up on
    return cosine(optim.lr, optim.end_lr, (progress - warmed_up) / left if left else 1.0)


class _SGD(torch.optim.SGD):
    """torch's SGD, of which neither its profiler nor its compiler is told: their import takes two seconds of a run.

    Attributes:
        partly: makes the step of some parameters and takes their gradients away, which it returns with them; or None.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._before: OrderedDict[int, Callable[..., object]] = OrderedDict()
        self.partly: Callable[[torch.optim.Optimizer], Sequence[tuple[nn.Parameter, torch.Tensor]]] | None = None
        super().__init__(*arguments, **options)

    add_param_group = inspect.unwrap(torch.optim.SGD.add_param_group)

    def register_step_pre_hook(self, hook: Callable[..., object]) -> RemovableHandle:
        """Call ``hook(self, (), {})`` before every step, as torch's does."""
        handle = RemovableHandle(self._before)
        self._before[handle.id] = hook
        return handle

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step."""
        for hook in self._before.values():
            hook(self, (), {})
        taken = self.partly(self) if self.partly else ()
        _PLAIN_STEP(self)
        for parameter, gradient in taken:
            parameter.grad = gradient

    step.hooked = True  # type: ignore[attr-defined]  # else torch puts its profiler around it


class BlockSGD:
    """The optimiser of a run: leaves frozen blocks out and anneals each block over its own active epochs.

    Attributes:
        sgd: the torch optimiser.
        lr: learning rate of what is never frozen.
        rates: learning rates on the device, where they are kept there.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[tuple[str, Sequence[str]]],
        optim: Optim,
        on_device: bool = False,
    ) -> None:
        """Group the parameters of `model` by block; those in no block (the classifier) come last.

        Args:
            on_device: keep the learning rates there too, where a recorded step finds each epoch's.
        """
        self.optim, self.on_device = optim, on_device
        members: list[list[nn.Parameter]] = [[] for _ in range(len(blocks) + 1)]
        for name, parameter in model.named_parameters():
            block = block_of(name, blocks)
            members[-1 if block is None else block].append(parameter)
        groups = [
            {"params": parameters, "block": index if index < len(blocks) else None}
            for index, parameters in enumerate(members)
            if parameters
        ]
        self.sgd = _SGD(
            groups,
            lr=optim.lr,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            nesterov=optim.nesterov,
            # Without weight decay, torch's foreach step with nesterov adds the momentum to p.grad itself, which methods
            # and AutoFreeze read after the step.
            foreach=not on_device and not (optim.nesterov and optim.weight_decay == 0),
            fused=on_device,  # the only step that reads learning rates from the device
        )
        self._groups = list(self.sgd.param_groups)
        self.lr = optim.lr
        self.rates: list[torch.Tensor] = []
        if on_device:
            for group in self._groups:
                group["lr"] = torch.tensor(optim.lr, device=group["params"][0].device)
                self.rates.append(group["lr"])

    def start_epoch(self, plan: FreezePlan, epoch: int) -> float:
        """Set each block's learning rate and drop the blocks that `plan` freezes, with their momentum.

        Returns:
            The learning rate of what is never frozen.
        """
        for group in self._groups:
            # The part that is never frozen is active in every epoch, as a block behind all others.
            block = len(plan.blocks) if group["block"] is None else group["block"]
            warmed_up = plan.progress(block, self.optim.warmup_epochs)
            annealed = learning_rate(self.optim, epoch, plan.progress(block, epoch), warmed_up)
            self.lr = plan.rate(block) * annealed  # in the end that of the last group
            if self.on_device:
                group["lr"].fill_(self.lr)
            else:
                group["lr"] = self.lr
            if plan.is_frozen(block, epoch):
                for parameter in group["params"]:
                    parameter.grad = None
                    self.sgd.state.pop(parameter, None)
        self.sgd.param_groups[:] = [
            group for group in self._groups if group["block"] is None or not plan.is_frozen(group["block"], epoch)
        ]
        return self.lr

    def momentum(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Parameter name -> momentum buffer, of what is trained."""
        state = {name: self.sgd.state.get(p, {}).get("momentum_buffer") for name, p in model.named_parameters()}
        return {name: buffer for name, buffer in state.items() if buffer is not None}

    def load_momentum(self, model: nn.Module, saved: dict[str, torch.Tensor]) -> None:
        """Put back what `momentum` gave."""
        for name, parameter in model.named_parameters():
            if name in saved:
                self.sgd.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(saved[name])
