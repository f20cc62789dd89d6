"""How good a network is on images that it was not trained on."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.train.device import autocast


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str) -> tuple[float, float]:
    """Mean loss and accuracy in percent of `model`, put into evaluation mode, on images and classes."""
    model.eval()
    device = next(model.parameters()).device
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    right = torch.zeros((), dtype=torch.int64, device=device)
    seen = 0
    for x, y in batches:
        with autocast(device, precision):
            logits = model(x)
        loss_sum += F.cross_entropy(logits.float(), y, reduction="sum")
        right += (logits.argmax(1) == y).sum()
        seen += len(y)
    return float(loss_sum) / seen, 100 * int(right) / seen
