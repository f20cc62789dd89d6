"""What an epoch's steps came to, gathered on the device and read once."""

import torch
from torch import Tensor

from spfde_exp.sieve.sieve import Sieve
from spfde_exp.sieve.two_phase import TwoPhase


class Tally:
    """Losses and right predictions of the steps of one epoch; nothing waits for the device before the end."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._right: list[Tensor] = []
        self._indices: list[Tensor] = []

    def add(self, loss: Tensor, right: Tensor, indices: Tensor) -> None:
        """Take in a step: its mean loss, whether each prediction was right (bool [B]), and the examples (int64 [B])."""
        self._losses.append(loss)
        self._right.append(right)
        self._indices.append(indices)

    def observed_by(self, sieve: Sieve | TwoPhase) -> None:
        """Let `sieve` count the epoch: as each example comes once, all at once is as good as batch by batch."""
        sieve.observe(torch.cat(self._indices), torch.cat(self._right))

    def means(self) -> tuple[float, float]:
        """Mean loss over the examples, and accuracy in percent; waits for the device."""
        sizes = torch.tensor([len(right) for right in self._right], dtype=torch.float64)
        losses, right = torch.stack(self._losses).double().cpu(), torch.cat(self._right)
        return float(losses @ sizes / sizes.sum()), 100 * int(right.sum()) / len(right)
