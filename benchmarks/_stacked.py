"""Several models of one shape trained in one process, by the same kernels."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from _steps import Batch
from torch import Tensor, nn

from spfde_exp.train.trainer import Trainer


class Together(ABC):
    """One SGD step of K runs at once. The trainers give the models, masks and settings, and stay as they are."""

    def __init__(self, trainers: Sequence[Trainer], parameters: dict[str, Tensor], join: Callable[..., Tensor]) -> None:
        """Train `parameters`, joined from those of the models; `join` does that to a list of tensors."""
        self.parameters, optim = parameters, trainers[0].config.optim
        self.smoothing = optim.label_smoothing
        weights = [f"{layer}.weight" for layer in trainers[0].masks.kept]
        masks = [join([trainer.masks.kept[layer] for trainer in trainers]) for layer in trainers[0].masks.kept]
        self.masked = list(zip([parameters[name] for name in weights], masks, strict=True))
        self.sgd = torch.optim.SGD(
            parameters.values(),
            lr=optim.lr,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            nesterov=optim.nesterov,
            foreach=True,
        )

    @abstractmethod
    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean loss of each model, [K], of images [K, B, C, H, W] and classes [K, B]."""

    def __call__(self, batches: Sequence[Batch]) -> None:
        """Train each model on its batch."""
        self.sgd.zero_grad(set_to_none=True)
        self.losses(torch.stack([x for x, _, _ in batches]), torch.stack([y for _, y, _ in batches])).sum().backward()
        gradients = [weight.grad for weight, _ in self.masked if weight.grad is not None]
        torch._foreach_mul_(gradients, [mask for _, mask in self.masked])
        self.sgd.step()


class Vmapped(Together):
    """Parameters stacked in a new dimension, and torch.vmap over the models."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        parameters, self.state = torch.func.stack_module_state([trainer.model.train() for trainer in trainers])
        super().__init__(trainers, parameters, torch.stack)
        skeleton = copy.deepcopy(trainers[0].model).to("meta")

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            logits = torch.func.functional_call(skeleton, (parameters, buffers), (x,))
            return F.cross_entropy(logits.float(), y, label_smoothing=self.smoothing)

        self._losses = torch.vmap(loss)

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        answer: Tensor = self._losses(self.parameters, self.state, x, y)
        return answer

    def weights(self, run: int) -> list[Tensor]:
        """Parameters of one of the models."""
        return [parameter[run] for parameter in self.parameters.values()]


class GroupedLinear(nn.Module):
    """K linear layers, on [B, K times the inputs]."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.runs = len(layers)
        self.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        inputs = x.unflatten(1, (self.runs, -1)).transpose(0, 1)
        weight = self.weight.unflatten(0, (self.runs, -1)).transpose(1, 2)
        return torch.baddbmm(self.bias.view(self.runs, 1, -1), inputs, weight).transpose(0, 1).flatten(1)


class Grouped(Together):
    """The channels of all models side by side: each convolution has K groups."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.runs, models = len(trainers), [trainer.model for trainer in trainers]
        self.net = copy.deepcopy(models[0])
        for name, module in models[0].named_modules():
            alike = [model.get_submodule(name) for model in models]
            if isinstance(module, nn.Linear):
                self.net.set_submodule(name, GroupedLinear(alike))
            elif isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                self.net.set_submodule(name, _widened(module, alike))
        self.net = self.net.to(memory_format=torch.channels_last).train()
        super().__init__(trainers, dict(self.net.named_parameters()), torch.cat)

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        side_by_side = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        logits = self.net(side_by_side).unflatten(1, (self.runs, -1)).transpose(0, 1)
        each = F.cross_entropy(logits.flatten(0, 1).float(), y.flatten(), reduction="none",
                               label_smoothing=self.smoothing)  # fmt: skip
        return each.view_as(y).mean(1)

    def weights(self, run: int) -> list[Tensor]:
        """Parameters of one of the models."""
        return [parameter.chunk(self.runs)[run] for parameter in self.parameters.values()]


def _widened(module: nn.Module, alike: Sequence[nn.Module]) -> nn.Module:
    """`module` with as many channels as all of `alike` together, which stay apart."""
    runs, answer = len(alike), copy.deepcopy(module)
    if isinstance(answer, nn.Conv2d):
        answer.in_channels *= runs
        answer.out_channels *= runs
        answer.groups *= runs
    elif isinstance(answer, nn.BatchNorm2d):
        answer.num_features *= runs
    for name, tensor in [*answer.named_parameters(), *answer.named_buffers()]:
        if tensor.dim():  # batch norm's count of batches is the same for all
            joined = torch.cat([getattr(other, name).detach() for other in alike])
            setattr(answer, name, nn.Parameter(joined) if isinstance(tensor, nn.Parameter) else joined)
    return answer
