"""Peak of live tensor bytes in a training step: measured by the trainer, and predicted."""

import math
from collections.abc import Sequence

import torch
from _workload import trainer_for

from spfde_exp.cost.memory import WORD
from spfde_exp.cost.stored import saved_bytes
from spfde_exp.data import Dataset
from spfde_exp.train.trainer import Trainer


def measured_peak(overrides: Sequence[str], dataset: Dataset, device: torch.device, frozen: int) -> int:
    """What the trainer measures in the step that it measures, with `frozen` leading blocks at rest.

    Args:
        dataset: at least two batches; the second step is the measured one.
    """
    trainer = trainer_for(overrides, dataset, device, frozen)
    for epoch in (0, 1) if frozen else (0,):
        trainer.start_epoch(epoch)
        row = trainer.train_epoch(epoch)
    return int(row["memory_peak_bytes"])


def predicted_peak(trainer: Trainer, frozen: int) -> int:
    """Standing tensors, what autograd keeps of the active part, and two of the largest active gradients."""
    plan, batch = trainer.plan, trainer.plan.batch_size
    active = [layer for layer in plan.layers if layer.block is None or layer.block >= frozen]
    resting = [layer for layer in plan.layers if layer not in active]
    others = sum(n for block, n in plan.other_params.items() if block is None or block >= frozen)
    trained = sum(layer.weights for layer in active) + others
    parameters = sum(layer.weights for layer in plan.layers) + sum(plan.other_params.values())
    masks = sum(mask.numel() for mask in trainer.masks.kept.values())
    buffers = sum(b.numel() * b.element_size() for b in trainer.model.buffers())
    saved = saved_bytes(trainer.model, trainer.batches.shape, frozen).batch(batch)
    turn = saved + 2 * WORD * batch * max(layer.outputs for layer in active)
    # Of the prefix, a block's input, the output of its first half, and what a convolution makes of that; batch norm
    # makes another, unless it is folded into copies of the weights.
    folded = trainer.forward.folds(frozen)
    copies = WORD * sum(layer.weights for layer in resting) if folded else 0
    prefix = (3 if folded else 4) * WORD * batch * max((layer.outputs for layer in resting), default=0)
    images = WORD * batch * math.prod(trainer.batches.shape)
    return WORD * (parameters + trained) + buffers + masks + copies + images + max(turn, prefix)
