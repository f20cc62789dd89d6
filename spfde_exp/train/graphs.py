"""Training steps recorded as CUDA graphs: the host then starts one graph in place of a thousand kernels.

A graph plays the same kernels on the same addresses again, so it is only right as long as everything that a step reads
lies where it lay, and as long as nothing but the content of tensors changes from step to step. The first is checked in
every epoch; the second by comparing the first replay with the step itself, bit for bit.
"""

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

Outputs = tuple[Tensor, Tensor]
StepFunction = Callable[[Tensor, Tensor], Outputs]


class Recorder(Protocol):
    """Records what a function does on the device."""

    def warm(self, function: Callable[[], Outputs]) -> Outputs:
        """Run `function` in the way in which it will be recorded."""

    def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        """What plays `function` again, and the tensors into which that writes its outputs."""


class CudaRecorder:
    """Records CUDA graphs."""

    def warm(self, function: Callable[[], Outputs]) -> Outputs:
        """Run `function` on a stream of its own, as PyTorch asks for before autograd is recorded."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outputs = function()
        torch.cuda.current_stream().wait_stream(stream)
        return outputs

    def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        """Record `function`, which must not wait for the device; nothing is computed yet."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may be loading data
            outputs = function()
        return graph.replay, outputs


class StepGraph:
    """Plays a training step from a graph, once that has given the same bits; else runs it as it is.

    Attributes:
        replays: steps that were played from a graph.
        recordings: graphs that were recorded.
    """

    def __init__(
        self,
        step: StepFunction,
        tensors: Callable[[], Sequence[Tensor]],
        parameters: Sequence[nn.Parameter],
        recorder: Recorder,
    ) -> None:
        """Graphs of `step`.

        Args:
            step: trains on images and classes; returns the mean loss and whether each prediction was right.
            tensors: everything that a step reads or changes besides, where it lies now.
            parameters: what has gradients, which are read between epochs.
        """
        self.step, self.tensors, self.parameters, self.recorder = step, tensors, list(parameters), recorder
        self.replays = self.recordings = 0
        self.usable = True
        self._replay: Callable[[], None] | None = None
        self._gradients: list[Tensor | None] = []
        self._stage: Hashable = None
        self._recorded_for: Hashable = None  # stage, shape of the batch, and addresses
        self._checked = False

    def start_epoch(self, stage: Hashable) -> None:
        """What a step reads may lie elsewhere now; `stage` tells which of it is trained."""
        self._stage, self._checked = stage, False

    def __call__(self, x: Tensor, y: Tensor) -> Outputs:
        """Train on images `x` and classes `y`."""
        if not self.usable:
            return self.step(x, y)
        if not self._checked:
            wanted = (self._stage, x.shape, x.stride(), tuple(tensor.data_ptr() for tensor in self.tensors()))
            if wanted != self._recorded_for:
                return self._record(x, y, wanted)
            self._checked = True
        self._x.copy_(x)
        self._y.copy_(y)
        return self._replayed()

    def _replayed(self) -> Outputs:
        assert self._replay is not None
        self._replay()
        self.replays += 1
        pairs = list(zip(self.parameters, self._gradients, strict=True))
        if any(parameter.grad is not gradient for parameter, gradient in pairs):  # an ordinary step has left its own
            for parameter, gradient in pairs:
                parameter.grad = gradient
        return self._loss.clone(), self._right.clone()

    def _record(self, x: Tensor, y: Tensor, wanted: Hashable) -> Outputs:
        """Train on `x` and `y` both ways; go on with the recorded one if it does the same."""
        self._gradients.clear()
        self._replay = None  # frees the memory of the graph before
        tensors = list(self.tensors())
        before = [tensor.clone() for tensor in tensors]
        outputs = self.recorder.warm(lambda: self.step(x, y))
        gradients = [parameter.grad for parameter in self.parameters]
        after = [tensor.clone() for tensor in tensors]
        _restore(tensors, before)
        self._x, self._y, self._recorded_for = x.clone(), y.clone(), None
        why = "the recorded step gives other numbers"
        try:
            self._replay, (self._loss, self._right) = self.recorder.record(lambda: self.step(self._x, self._y))
            self._gradients = [parameter.grad for parameter in self.parameters]
            replayed = self._replayed()
            if all(map(torch.equal, [*tensors, *replayed], [*after, *outputs])):
                self._recorded_for, self._checked = wanted, True
                self.recordings += 1
                return replayed
        except RuntimeError as error:
            why = " ".join(str(error).split())[:300]
        log.warning("no CUDA graphs, which makes steps slower: %s", why)
        self.usable = False
        _restore(tensors, after)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return outputs


@torch.no_grad()
def _restore(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
