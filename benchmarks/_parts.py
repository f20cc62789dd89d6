"""Where the time of an epoch goes: marks between the parts of `Trainer.train_epoch`."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from _workload import wait

from spfde_exp.train.trainer import Trainer

BATCH, PREFIX, FORWARD, BACKWARD, UPDATE, GRAPH, REST = PARTS = (
    "batch: draw, crop, flip", "frozen prefix, forward", "active part, forward", "loss and backward",
    "masks and optimiser", "steps from a CUDA graph", "the rest",
)  # fmt: skip


class Parts:
    """Seconds of each of `PARTS`, taken by wrapping what the trainer calls. On a GPU each mark waits for it."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._last = 0.0

    def _until_now(self, part: str) -> None:
        wait(self.trainer.device)
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last = now

    def _wrapped(self, call: Any, before: str, within: str) -> Any:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            self._until_now(before)
            answer = call(*arguments, **keywords)
            self._until_now(within)
            return answer

        return wrapped

    def _train_step(self, *arguments: Any) -> Any:
        self._until_now(REST)
        played = self.trainer.graph.replays if self.trainer.graph else 0
        answer = type(self.trainer).train_step(self.trainer, *arguments)
        self._until_now(GRAPH if self.trainer.graph and self.trainer.graph.replays > played else REST)
        return answer

    def _batches(self, *arguments: Any) -> Iterator[Any]:
        self._until_now(REST)
        batches = type(self.trainer.batches).epoch(self.trainer.batches, *arguments)
        while (batch := next(batches, None)) is not None:
            self._until_now(BATCH)
            yield batch
            self._until_now(REST)
        self._until_now(BATCH)

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train an epoch; its seconds, part by part."""
        trainer = self.trainer
        self.seconds = dict.fromkeys(PARTS, 0.0)
        active = self._wrapped(trainer.model.rest, PREFIX, FORWARD)
        update = self._wrapped(trainer.optimizer.sgd.step, BACKWARD, UPDATE)
        with ExitStack() as stack:
            stack.enter_context(patch.object(trainer.batches, "epoch", self._batches))
            stack.enter_context(patch.object(trainer, "train_step", self._train_step))
            stack.enter_context(patch.object(trainer.model, "rest", active))
            stack.enter_context(patch.object(trainer.optimizer.sgd, "step", update))
            self._last = time.perf_counter()
            trainer.train_epoch(epoch)
            self._until_now(REST)
        return self.seconds
