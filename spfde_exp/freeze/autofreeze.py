"""AutoFreeze (Liu et al., 2021): blocks freeze as training goes, judged by how their gradients change."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from spfde_exp.cost.layers import block_of
from spfde_exp.rounding import to_interval


def decision_epochs(epochs: int, intervals: int, every: int) -> range:
    """Epochs at whose start blocks may freeze: `intervals` parts of the run, rounded to structure changes.

    The authors' code parts the steps of fine-tuning, into ten. Where masks change every `every` epochs, intervals with
    equally many changes compare.
    """
    interval = max(every, to_interval(epochs / intervals, every))
    return range(interval, epochs, interval)


def changes(before: Sequence[float], now: Sequence[float]) -> list[float]:
    """Relative change of each gradient norm from one interval to the next."""
    pairs = zip(before, now, strict=True)
    return [abs(a - b) / a if a else (torch.inf if b else 0.0) for a, b in pairs]


def prefix(rates: Sequence[float], percentile: float) -> int:
    """How many leading blocks change less than `percentile` of all `rates` (interpolated linearly)."""
    if torch.inf in rates:  # interpolation would give nan
        ordered = sorted(rates)
        threshold = ordered[int(percentile / 100 * (len(ordered) - 1))]
    else:
        threshold = float(torch.quantile(torch.tensor(rates, dtype=torch.float64), percentile / 100))
    return next((index for index, rate in enumerate(rates) if rate >= threshold), len(rates))


class AutoFreeze:
    """Adds up gradients over an interval, and says how many leading blocks to freeze after it.

    A block's norm is the sum over its parameters of the L1 norm of the gradient, added up over the interval. Of the
    blocks that are not frozen yet, the leading ones freeze whose norm changed less, relative to the interval before,
    than the given percentile of them; a block freezes for good, and the last one never.

    Attributes:
        epochs: at whose start blocks may freeze.
        percentile: from 0 to 100; the higher, the more freezes.
    """

    def __init__(
        self, model: nn.Module, blocks: Sequence[tuple[str, Sequence[str]]], epochs: range, percentile: float
    ) -> None:
        """Watch the parameters of `model` in `blocks`; frozen ones are those without a gradient."""
        self.epochs, self.percentile = epochs, percentile
        self._members: list[list[tuple[str, nn.Parameter]]] = [[] for _ in blocks]
        for name, parameter in model.named_parameters():
            block = block_of(name, blocks)
            if block is not None:
                self._members[block].append((name, parameter))
        self._sums: dict[str, torch.Tensor] = {}
        self._norms: list[float] | None = None  # of the interval before

    @torch.no_grad()
    def observe(self) -> None:
        """Add the gradients of a step, after it: those of masked weights are zero by then."""
        fresh = [(name, p.grad) for members in self._members for name, p in members if p.grad is not None]
        for name, gradient in fresh:
            if name not in self._sums:
                self._sums[name] = torch.zeros_like(gradient)
        if fresh:
            torch._foreach_add_([self._sums[name] for name, _ in fresh], [gradient for _, gradient in fresh])

    def decide(self, frozen: int) -> int:
        """Blocks that are frozen after an interval in which `frozen` leading ones were; begins the next interval."""
        names = [[name for name, _ in members] for members in self._members]
        norms = [sum(float(self._sums[n].double().abs().sum()) for n in own if n in self._sums) for own in names]
        before, self._norms, self._sums = self._norms, norms, {}
        if before is None:
            return frozen
        return frozen + prefix(changes(before[frozen:], norms[frozen:]), self.percentile)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """What it holds in memory."""
        return list(self._sums.values())

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs; tensors and plain values."""
        return {"sums": dict(self._sums), "norms": self._norms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        parameters = {name: parameter for members in self._members for name, parameter in members}
        self._sums = {name: torch.empty_like(parameters[name]).copy_(value) for name, value in state["sums"].items()}
        self._norms = state["norms"]
