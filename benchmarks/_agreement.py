"""Is the GPU right? The same few steps on the CPU and on the device, and twice on the device."""

from typing import Any

import torch
from _workload import images, trainer_for
from torch import Tensor

from spfde_exp.train.device import exact
from spfde_exp.train.trainer import Trainer

STEPS, BATCH = 4, 32
SETTINGS = ("optim.lr=0.01", f"optim.batch_size={BATCH}", "method=mest_ems", "sparsity=0.9", "freeze=none")
# In float32 a rounding at a ReLU's edge flips it, and thirty layers multiply that: other convolution kernels
# on one CPU (oneDNN on, off) already move the first gradient by 8e-4, and the weights after four steps by 9 %
# of the way they went. So float32 is held to its first step; float64, where only the loss rounds, to all.
# There a rounding of the logits moves the weights by 2e-7.
FLOAT32_LOSS_MOST, FLOAT32_GRADIENT_MOST = 1e-5, 1e-2
FLOAT64_LOSS_MOST, FLOAT64_WEIGHTS_MOST = 1e-6, 1e-4


class Trained:
    """A trainer after one epoch of `STEPS` batches.

    Attributes:
        losses: of every batch.
        gradient: of the first one, all parameters in one vector.
        moved: how far the parameters went from where they began.
    """

    def __init__(self, device: torch.device, overrides: list[str], dtype: torch.dtype) -> None:
        # Sieving leaves 85 % of the examples, the STEPS full batches.
        data = images(round(STEPS * BATCH / 0.85), None)
        self.trainer = trainer_for([*SETTINGS, "sieve=0.15", *overrides], data, device)
        self.trainer.start_epoch(0)
        self.trainer.model.to(dtype).train()
        before = self._vector()
        self.losses: list[float] = []
        self.gradient = torch.empty(0)
        order = torch.Generator().manual_seed(0)
        for index, (x, y, indices) in enumerate(self.trainer.batches.epoch(self.trainer.sieve.kept, order)):
            loss, correct, _ = self.trainer.train_step(self.trainer.at(0, index, STEPS), x.to(dtype), y)
            self.trainer.sieve.observe(indices, correct)
            if not self.losses:
                self.gradient = self._vector(gradient=True)
            self.losses.append(float(loss))
        self.moved = self._vector() - before

    def _vector(self, gradient: bool = False) -> Tensor:
        parameters = self.trainer.model.parameters()
        tensors = [parameter.grad if gradient else parameter for parameter in parameters]
        return torch.cat([t.detach().flatten().double().cpu() for t in tensors if t is not None])


def agreement(device: torch.device, overrides: list[str], threads: int) -> list[tuple[str, str, bool]]:
    """What was compared, the figure, and whether it is as it must be."""
    cpu = torch.device("cpu")
    with exact(threads, "fp32"):
        single, single_here, again = (Trained(d, overrides, torch.float32) for d in (cpu, device, device))
        double, double_here = (Trained(d, overrides, torch.float64) for d in (cpu, device))
        figures = {
            f"float32, first loss (at most {FLOAT32_LOSS_MOST:g})": (
                relative(single_here.losses[:1], single.losses[:1]),
                FLOAT32_LOSS_MOST,
            ),
            f"float32, first gradient (at most {FLOAT32_GRADIENT_MOST:g})": (
                distance(single_here.gradient, single.gradient),
                FLOAT32_GRADIENT_MOST,
            ),
            f"float64, {STEPS} losses (at most {FLOAT64_LOSS_MOST:g})": (
                relative(double_here.losses, double.losses),
                FLOAT64_LOSS_MOST,
            ),
            f"float64, weights after them (at most {FLOAT64_WEIGHTS_MOST:g})": (
                distance(double_here.moved, double.moved),
                FLOAT64_WEIGHTS_MOST,
            ),
        }
        grown = same(single.trainer.masks.kept, single_here.trainer.masks.kept)
        repeated = same(single_here.trainer.state_dict(1), again.trainer.state_dict(1))
        updated = same_update(single.trainer, single_here.trainer)
    pair = f"{device.type} against cpu"
    equal = {
        f"masks after the first growth, {pair}": grown,
        f"masks after an update of equal weights, {pair}": updated,
        f"two runs on {device.type}: weights, momentum, masks, sieve": repeated,
    }
    return [
        *((f"{what}, {pair}", f"{figure:.1e}", figure <= most) for what, (figure, most) in figures.items()),
        *((what, "equal" if good else "differ", good) for what, good in equal.items()),
    ]


def same_update(reference: Trainer, other: Trainer) -> bool:
    """Whether both change the structure of the same weights to the same masks, ties included."""
    epoch = min(epoch for epoch in reference.plan.schedule.updates if epoch > 0)
    other.load_state_dict(reference.state_dict(epoch))
    for trainer in (reference, other):
        trainer.start_epoch(epoch)
    return same(reference.masks.kept, other.masks.kept)


def relative(ours: list[float], theirs: list[float]) -> float:
    """Largest relative difference."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm of `theirs`."""
    return float((ours - theirs).norm() / theirs.norm())


def same(one: Any, other: Any) -> bool:
    """Whether two nested states are equal to the bit."""
    if isinstance(one, Tensor):
        return torch.equal(one.cpu(), other.cpu())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
