"""Data efficiency of MEST (section 4.3): the whole training set first, then without its easiest examples."""

from typing import Any

import torch
from torch import Tensor

from spfde_exp.errors import UserError
from spfde_exp.sieve.forgetting import ForgettingCounter


class TwoPhase:
    """Which examples are trained: all of them until `update`, which removes the easiest once and for all.

    The same interface as `Sieve`, and like it for any PyTorch loop.

    Attributes:
        kept: indices of the training set, int64, ascending, on the training device.
        counter: forgetting events since the beginning, or since the removal.
    """

    def __init__(
        self,
        examples: int,
        *,
        threshold: int | None = None,
        count: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Everything is trained; say with one of `threshold` and `count` what `update` removes.

        Args:
            threshold: every example that was learned and forgotten at most so often. The text of MEST section 4.3;
                its equation (2) prints the inequality the other way round, which would keep the easy ones.
            count: so many, the least forgotten first, ties drawn; one that was never learned ranks behind all others
                (released code).
        """
        if (threshold is None) == (count is None):
            raise ValueError("give either threshold or count")
        self.threshold, self.count = threshold, count
        self.kept = torch.arange(examples, device=device)
        self.counter = ForgettingCounter(examples, device)

    def observe(self, indices: Tensor, correct: Tensor) -> None:
        """Count one training batch: `indices` int64 [B], each once; `correct` bool [B]."""
        self.counter.observe(indices, correct)

    def update(self, generator: torch.Generator) -> None:
        """End the first phase: remove the easiest examples.

        Args:
            generator: on the CPU; draws ties.

        Raises:
            UserError: the threshold leaves no example.
        """
        kept = self.kept.cpu()
        hardness = self.counter.difficulty("hardest").cpu()[kept]
        if self.threshold is None:
            ties = torch.rand(len(kept), generator=generator, dtype=torch.float64)
            staying = (hardness.double() + ties).sort(stable=True).indices[self.count :]
        else:
            staying = torch.nonzero(hardness > self.threshold).flatten()
        if not len(staying):
            raise UserError(
                f"none of {len(kept)} examples is left: each was learned and then forgotten at most "
                f"sieve.threshold={self.threshold} times; say with sieve.count how many to remove"
            )
        self.kept = kept[staying].sort().values.to(self.kept.device)
        self.counter.reset()

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {"kept": self.kept.cpu(), "counter": self.counter.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.kept = state["kept"].to(self.kept.device)
        self.counter.load_state_dict(state["counter"])
