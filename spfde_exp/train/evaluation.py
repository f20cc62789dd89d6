"""How good a network is on images that it was not trained on."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.no_grad()
def evaluate(
    model: nn.Module, logits_of: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[float, float]:
    """Mean loss and accuracy in percent of `model`, put into evaluation mode, on images and classes.

    `logits_of` says what it gives for images.
    """
    model.eval()
    device = next(model.parameters()).device
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    right = torch.zeros((), dtype=torch.int64, device=device)
    seen = 0
    for x, y in batches:
        logits = logits_of(x)
        loss_sum += F.cross_entropy(logits.float(), y, reduction="sum")
        right += (logits.argmax(1) == y).sum()
        seen += len(y)
    return float(loss_sum) / seen, 100 * int(right) / seen
