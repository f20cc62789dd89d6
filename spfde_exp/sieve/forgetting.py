"""Forgetting events (Toneva et al., 2019; SpFDE appendix C.1), counted while training."""

import torch
from torch import Tensor


class ForgettingCounter:
    """Counts, for every example, how often it went from right to wrong between two presentations.

    Everything stays on the device: `observe` never waits for it. Counts of the current interval are reset by
    `reset`, correctness with them; totals over the run go on, also across intervals.
    """

    def __init__(self, examples: int, device: torch.device | str = "cpu") -> None:
        """Nothing seen yet of `examples` examples."""
        self.events = torch.zeros(examples, dtype=torch.int16, device=device)
        self.right = torch.zeros(examples, dtype=torch.bool, device=device)
        self.learned = torch.zeros(examples, dtype=torch.bool, device=device)
        self.total_right = torch.zeros(examples, dtype=torch.bool, device=device)
        self.total_learned = torch.zeros(examples, dtype=torch.bool, device=device)
        self.total_events = torch.zeros(examples, dtype=torch.int32, device=device)

    def observe(self, indices: Tensor, correct: Tensor) -> None:
        """Take in one batch: `indices` int64 [B], each once; `correct` bool [B]."""
        forgotten = self.right[indices] & ~correct
        self.events[indices] += forgotten.to(self.events.dtype)
        self.right[indices] = correct
        self.learned[indices] |= correct
        forgotten = self.total_right[indices] & ~correct
        self.total_events[indices] += forgotten.to(self.total_events.dtype)
        self.total_right[indices] = correct
        self.total_learned[indices] |= correct

    def difficulty(self, never_learned: str) -> Tensor:
        """Events per example in this interval, int16 [N]; with "hardest", the maximum where never right."""
        if never_learned == "zero":
            return self.events
        return self.events.masked_fill(~self.learned, torch.iinfo(self.events.dtype).max)

    def reset(self) -> None:
        """Begin a new interval: counts and correctness start anew."""
        for tensor in (self.events, self.right, self.learned):
            tensor.zero_()

    @property
    def forgetting_events(self) -> int:
        """Events of all examples over the whole run, across intervals."""
        return int(self.total_events.sum())

    @property
    def unforgettable(self) -> int:
        """Examples that were right at least once and never forgotten since, over the whole run."""
        return int((self.total_learned & (self.total_events == 0)).sum())

    def state_dict(self) -> dict[str, Tensor]:
        """All counts, on the CPU."""
        return {name: value.cpu() for name, value in vars(self).items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from the counts that `state_dict` gave."""
        for name, value in vars(self).items():
            value.copy_(state[name])
