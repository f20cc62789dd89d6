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

    def random_state(self) -> Tensor:
        """State of the generator from which steps draw."""

    def set_random_state(self, state: Tensor) -> None:
        """Go back to a state that `random_state` gave."""


class CudaRecorder:
    """Records CUDA graphs on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def warm(self, function: Callable[[], Outputs]) -> Outputs:
        """Run `function` on a stream of its own, as PyTorch asks for before autograd is recorded."""
        with torch.cuda.device(self.device):
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                outputs = function()
            torch.cuda.current_stream().wait_stream(self.stream)
        return outputs

    def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        """Record `function`, which must not wait for the device; nothing is computed yet."""
        # Kept also if recording fails: PyTorch's allocator goes on referring to it.
        graph = self._graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self.device),
            torch.cuda.stream(torch.cuda.current_stream(self.device)),
            torch.cuda.graph(graph, capture_error_mode="thread_local"),  # other threads may be loading data
        ):
            outputs = function()
        return graph.replay, outputs

    def random_state(self) -> Tensor:
        """State of the device's generator."""
        return torch.cuda.get_rng_state(self.device)

    def set_random_state(self, state: Tensor) -> None:
        """Go back to a state that `random_state` gave."""
        torch.cuda.set_rng_state(state, self.device)


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
        self._outputs: Outputs | None = None
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
        assert self._replay is not None and self._outputs is not None
        self._replay()
        self.replays += 1
        pairs = list(zip(self.parameters, self._gradients, strict=True))
        if any(parameter.grad is not gradient for parameter, gradient in pairs):  # an ordinary step has left its own
            for parameter, gradient in pairs:
                parameter.grad = gradient
        loss, right = self._outputs
        return loss.clone(), right.clone()

    def _record(self, x: Tensor, y: Tensor, wanted: Hashable) -> Outputs:
        """Train on `x` and `y` both ways; go on with the recorded one if it does the same."""
        # The graph before goes first: its memory is free then, and what is recorded now cannot refer to it.
        self._gradients, self._replay, self._outputs = [], None, None
        tensors = list(self.tensors())
        before, draws = [tensor.clone() for tensor in tensors], self.recorder.random_state()
        outputs = self.recorder.warm(lambda: self.step(x, y))
        gradients = [parameter.grad for parameter in self.parameters]
        after, drawn = [tensor.clone() for tensor in tensors], self.recorder.random_state()
        _restore(tensors, before)
        self.recorder.set_random_state(draws)
        self._x, self._y, self._recorded_for = x.clone(), y.clone(), None
        why = "the recorded step gives other numbers"
        try:
            self._replay, self._outputs = self.recorder.record(lambda: self.step(self._x, self._y))
            self._gradients = [parameter.grad for parameter in self.parameters]
            _restore(tensors, before)  # if recording has changed them, it has recorded nothing
            self.recorder.set_random_state(draws)
            replayed = self._replayed()
            if all(map(torch.equal, [*tensors, *replayed], [*after, *outputs])):
                self._recorded_for, self._checked = wanted, True
                self.recordings += 1
                return replayed
        except RuntimeError as error:
            why = " ".join(str(error).split())[:300]
        log.warning("no CUDA graphs, which makes steps slower: %s", why)
        self.usable, self._replay = False, None
        _restore(tensors, after)
        self.recorder.set_random_state(drawn)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return outputs


@torch.no_grad()
def _restore(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
