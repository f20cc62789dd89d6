"""Several runs on one device: training steps per second in total, by how many processes share it."""

import time
from collections.abc import Sequence
from itertools import cycle
from multiprocessing.connection import Connection
from types import TracebackType

import torch
import torch.multiprocessing as mp
from _steps import Product, batches_of
from _workload import images, trainer_for, wait

from spfde_exp.train.device import exact

WARM = 5  # steps before the first window; on a GPU, the third of them is recorded as a graph


def worker(channel: Connection, device_name: str, overrides: Sequence[str], threads: int) -> None:
    """Train in every window (start, end) of the monotonic clock that is sent; answer steps per second."""
    device = torch.device(device_name)
    with exact(threads, "fp32"):
        trainer = trainer_for(overrides, images(256, None), device)
        step, batches = Product(trainer), cycle(batches_of(trainer))
        for _ in range(WARM):
            step(next(batches))
        wait(device)
        channel.send(0.0)
        while (window := channel.recv()) is not None:
            start, end = window
            time.sleep(max(0.0, start - time.monotonic()))
            steps = 0
            while time.monotonic() < end:
                step(next(batches))
                wait(device)  # else the host only counts what it has queued
                steps += 1
            channel.send(steps / (time.monotonic() - start))


class Pool:
    """Processes that stay up, so that different numbers of them can take turns. Use as a context."""

    def __init__(self, size: int, device: torch.device, overrides: Sequence[str], threads: int) -> None:
        context = mp.get_context("spawn")
        self.channels: list[Connection] = []
        self.processes = []
        for _ in range(size):
            ours, theirs = context.Pipe()
            settings = (theirs, str(device), overrides, threads)
            process = context.Process(target=worker, args=settings, daemon=True)
            process.start()
            theirs.close()  # so that a dead worker ends `recv` with EOFError
            self.channels.append(ours)
            self.processes.append(process)

    def __enter__(self) -> "Pool":
        for channel in self.channels:
            channel.recv()
        return self

    def rate(self, count: int, seconds: float) -> float:
        """Steps per second of the first `count` processes together, over `seconds`."""
        start = time.monotonic() + 0.1
        for channel in self.channels[:count]:
            channel.send((start, start + seconds))
        return sum(channel.recv() for channel in self.channels[:count])

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for channel, process in zip(self.channels, self.processes, strict=True):
            if kind is None:
                channel.send(None)
            else:
                process.terminate()
            process.join()
