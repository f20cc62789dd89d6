"""A freeze plan: how many leading blocks rest in each epoch, known before training starts."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

BACKWARD_SHARE = 2 / 3  # backward costs twice the forward pass, which a frozen block still runs (SpFDE 4.2.1)


@dataclass(frozen=True)
class FreezePlan:
    """The leading blocks that are frozen during each epoch (a block freezes only if all before it are frozen).

    Attributes:
        frozen: number of frozen leading blocks per epoch, length `epochs`.
        blocks: names of all blocks in order.
        shares: share of the model's forward FLOPs of each block (the rest is the classifier's).
        own_clock: whether a block's learning rate is at the share of its own active epochs that have passed (SpFDE
            4.2.1), or at the share of all epochs.
        scaled: whether a block with fewer active epochs starts at a learning rate as many times higher (FreezeOut).
        known: whether this is what will happen; if not, blocks may freeze besides as training goes.
    """

    frozen: tuple[int, ...]
    blocks: tuple[str, ...]
    shares: tuple[float, ...]
    own_clock: bool = True
    scaled: bool = False
    known: bool = True

    @classmethod
    def none(cls, epochs: int, blocks: Sequence[str], shares: Sequence[float]) -> "FreezePlan":
        """A plan that freezes nothing."""
        return cls((0,) * epochs, tuple(blocks), tuple(shares))

    @classmethod
    def sequential(
        cls, epochs: int, blocks: Sequence[str], shares: Sequence[float], freeze_epochs: Sequence[int]
    ) -> "FreezePlan":
        """A plan that freezes block k for good at `freeze_epochs[k]` (ascending)."""
        frozen = tuple(bisect_right(freeze_epochs, epoch) for epoch in range(epochs))
        return cls(frozen, tuple(blocks), tuple(shares))

    def from_epoch(self, epoch: int, depth: int) -> "FreezePlan":
        """The same plan, but with `depth` leading blocks frozen from `epoch` to the end."""
        return replace(self, frozen=self.frozen[:epoch] + (depth,) * (self.epochs - epoch))

    @property
    def epochs(self) -> int:
        """Length of the run."""
        return len(self.frozen)

    @property
    def first(self) -> int:
        """Epoch in which the first block rests; the length of the run where none does."""
        return next((epoch for epoch, depth in enumerate(self.frozen) if depth), self.epochs)

    def is_frozen(self, block: int, epoch: int) -> bool:
        """Whether `block` rests during `epoch`."""
        return block < self.frozen[epoch]

    def newly_frozen(self, epoch: int) -> range:
        """Blocks that begin to rest at the start of `epoch`."""
        return range(self.frozen[epoch - 1] if epoch else 0, self.frozen[epoch])

    def active_epochs(self, block: int, before: int | None = None) -> int:
        """Epochs in which `block` is trained, in the whole run or before an epoch."""
        return sum(block >= depth for depth in self.frozen[:before])

    def progress(self, block: int, epoch: int) -> float:
        """Where the learning rate of `block` stands at `epoch`, from 0 to 1."""
        if not self.own_clock:
            return epoch / self.epochs
        return self.active_epochs(block, epoch) / max(1, self.active_epochs(block))

    def rate(self, block: int) -> float:
        """Factor on the learning rate of `block`."""
        return self.epochs / max(1, self.active_epochs(block)) if self.scaled else 1.0

    def reduction(self, density: Sequence[float] | None = None) -> float:
        """Share of the training FLOPs that the plan saves: the backward pass of blocks while they are frozen.

        Args:
            density: density trained per epoch; None counts every epoch alike (flat, as Table A4 does).
        """
        weight = [1.0] * self.epochs if density is None else list(density)
        heads = [sum(self.shares[:depth]) for depth in range(len(self.shares) + 1)]
        saved = sum(heads[depth] * w for depth, w in zip(self.frozen, weight, strict=True))
        return BACKWARD_SHARE * saved / sum(weight)

    def summary(self) -> str:
        """A few words, such as ``9/15 blocks from 60``, ``4+3 of 15 blocks in turns`` or ``nothing``."""
        depths = sorted(set(self.frozen) - {0})
        if not self.known:
            return "decided in training"
        if not depths:
            return "nothing"
        first, total = self.first, len(self.blocks)
        falls = [epoch for epoch in range(1, self.epochs) if self.frozen[epoch] < self.frozen[epoch - 1]]
        if not falls:
            return f"{depths[-1]}/{total} blocks from {first}"
        if not any(self.frozen[falls[0] :]):
            return f"{depths[-1]}/{total} blocks from {first} to {falls[0]}"
        groups = [depth - before for before, depth in zip([0, *depths], depths, strict=False)]
        return f"{'+'.join(map(str, groups))} of {total} blocks in turns from {first}"

    def ranges(self) -> list[dict[str, Any]]:
        """Per block its name and the epoch ranges [first, last + 1) in which it rests."""
        answer = []
        for block, name in enumerate(self.blocks):
            spans: list[list[int]] = []
            for epoch in range(self.epochs):
                if self.is_frozen(block, epoch):
                    if spans and spans[-1][1] == epoch:
                        spans[-1][1] = epoch + 1
                    else:
                        spans.append([epoch, epoch + 1])
            answer.append({"block": name, "frozen": spans})
        return answer
