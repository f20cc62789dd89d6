"""Epochs side by side: a few steps of one, then of the next, so that what disturbs the machine strikes all alike."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from _workload import tell_malloc, wait

from spfde_exp.train.trainer import Trainer

M_ARENA_MAX = -8  # <malloc.h> of glibc
Slices = list[float]  # seconds of an epoch, slice by slice; the first has its beginning, the last its end


class _Runner(threading.Thread):
    """Trains an epoch while it is its turn.

    Attributes:
        wall, cpu: seconds of each slice.
        error: what ended it.
    """

    def __init__(self, trainer: Trainer, epoch: int, steps: int, threads: int) -> None:
        super().__init__(daemon=True)
        self.trainer, self.epoch, self.steps, self.threads = trainer, epoch, steps, threads
        self.turn, self.paused = threading.Semaphore(0), threading.Semaphore(0)
        self.wall: Slices = []
        self.cpu: Slices = []
        self.error: BaseException | None = None
        self._since = 0.0, 0.0

    def run(self) -> None:
        torch.set_num_threads(self.threads)  # OpenMP counts for each thread that calls it
        batches, loader = self.trainer.batches.epoch, self.trainer.batches

        def in_slices(*arguments: Any) -> Iterator[Any]:
            for step, batch in enumerate(batches(*arguments)):
                if step and step % self.steps == 0:
                    self._pause()
                    self._go_on()
                yield batch

        loader.epoch = in_slices  # type: ignore[assignment,method-assign]
        try:
            self._go_on()
            self.trainer.train_epoch(self.epoch)
        except BaseException as error:
            self.error = error
        loader.epoch = batches  # type: ignore[method-assign]
        self.epoch = -1
        self._pause()

    @property
    def done(self) -> bool:
        """Whether the epoch is over."""
        return self.epoch < 0

    def _go_on(self) -> None:
        self.turn.acquire()
        self._since = time.perf_counter(), time.process_time()

    def _pause(self) -> None:
        wait(self.trainer.device)
        self.wall.append(time.perf_counter() - self._since[0])
        self.cpu.append(time.process_time() - self._since[1])
        self.paused.release()


def lockstep(trainers: Mapping[str, Trainer], epoch: int, steps: int) -> tuple[dict[str, Slices], dict[str, Slices]]:
    """Wall and CPU seconds of `Trainer.train_epoch(epoch)` of each trainer, in slices of `steps` that take turns."""
    tell_malloc(M_ARENA_MAX, 1)  # a heap for each thread, as glibc has it, serves some worse than others
    runners = {name: _Runner(trainer, epoch, steps, torch.get_num_threads()) for name, trainer in trainers.items()}
    for runner in runners.values():
        runner.start()
    while any(not runner.done for runner in runners.values()):
        for runner in runners.values():
            if not runner.done:
                runner.turn.release()
                runner.paused.acquire()
    for runner in runners.values():
        runner.join()
        if runner.error:
            raise runner.error
    return {name: one.wall for name, one in runners.items()}, {name: one.cpu for name, one in runners.items()}


def epochs_of(slices: Mapping[str, Sequence[float]], base: str) -> dict[str, float]:
    """Seconds of each epoch, as if the machine had been as fast in every slice as it mostly was in those of `base`.

    A whole slice takes the median of its ratios to the slices of `base` beside it; the first and the last, which hold
    what an epoch takes besides its steps, are taken as they were, the last by the slice of `base` beside it.
    """
    usual, beside = median(slices[base][1:-1]), slices[base]
    answer = {}
    for name, own in slices.items():
        inner = range(1, len(own) - 1)
        ratio = median(own[index] / beside[index] for index in inner)
        end = len(own) - 1
        # The end of `base` itself is no whole slice: the one before it is beside it.
        last = own[end] / beside[min(end, len(beside) - 2)]
        answer[name] = own[0] + usual * (ratio * len(inner) + last)
    return answer
