"""Circular data sieving (SpFDE section 4.3 and appendix C.2)."""

from typing import Any

import torch
from torch import Tensor

from spfde_exp.sieve.forgetting import ForgettingCounter
from spfde_exp.sieve.sizes import sieve_sizes


class Sieve:
    """Which examples are trained: a partial training set, and the queue of the removed ones.

    `observe` counts forgetting events as batches are trained; every interval, `update` sends the easiest examples
    of the partial set to the tail of the queue and takes as many back from its head. Works in any PyTorch loop.

    Attributes:
        kept: indices of the partial training set, int64, ascending, on the training device.
        queue: indices of the removed examples, head first, int64, on the CPU.
        counter: forgetting events of the current interval.
    """

    def __init__(
        self,
        examples: int,
        ratio: float,
        generator: torch.Generator,
        *,
        update_ratio: float = 0.3,
        never_learned: str = "hardest",
        device: torch.device | str = "cpu",
    ) -> None:
        """Remove a uniformly random `ratio` of `examples` (rounded half up).

        Args:
            generator: on the CPU; draws the initial removal, here and nowhere else.
            update_ratio: share of the removed examples exchanged at an update; the paper's is 0.3 (Table A2).
            never_learned: "hardest" ranks an example that was never right within the interval behind all others,
                "zero" counts it as one that was never forgotten.
        """
        order = torch.randperm(examples, generator=generator)
        removed, self.exchange = sieve_sizes(examples, ratio, update_ratio)
        self.examples = examples
        self.queue = order[:removed].clone()
        self.kept = order[removed:].sort().values.to(device)
        self.initial_left = removed
        self.never_learned = never_learned
        self.counter = ForgettingCounter(examples, device)

    def observe(self, indices: Tensor, correct: Tensor) -> None:
        """Count one training batch, without waiting for the device.

        Args:
            indices: the examples of the batch, each once, int64, shape [B].
            correct: whether each was classified correctly, bool, shape [B].
        """
        self.counter.observe(indices, correct)

    def update(self, generator: torch.Generator) -> None:
        """Exchange examples and start a new interval.

        The easiest go first: fewest forgetting events, ties in random order. Nothing is shuffled until every
        initially removed example has come back; from then on the queue is shuffled after each update.

        Args:
            generator: on the CPU; draws ties and shuffles.
        """
        if self.exchange:
            kept = self.kept.cpu()
            difficulty = self.counter.difficulty(self.never_learned).cpu()[kept].double()
            difficulty += torch.rand(len(kept), generator=generator, dtype=torch.float64)
            order = difficulty.sort(stable=True).indices
            evicted, staying = kept[order[: self.exchange]], kept[order[self.exchange :]]
            self.queue = torch.cat([self.queue, evicted])
            fetched, self.queue = self.queue[: self.exchange], self.queue[self.exchange :]
            self.initial_left = max(0, self.initial_left - self.exchange)
            if self.initial_left == 0:
                self.queue = self.queue[torch.randperm(len(self.queue), generator=generator)]
            self.kept = torch.cat([staying, fetched]).sort().values.to(self.kept.device)
        self.counter.reset()

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {
            "kept": self.kept.cpu(),
            "queue": self.queue,
            "initial_left": self.initial_left,
            "counter": self.counter.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.kept = state["kept"].to(self.kept.device)
        self.queue = state["queue"]
        self.initial_left = state["initial_left"]
        self.counter.load_state_dict(state["counter"])
