"""Where the weights of a masked convolution live: made once per mask, used in every step."""

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spfde_exp.engine.kernels import GROUPS, Ints

__all__ = ["Entries", "Groups", "Rows", "Structure"]
FEWEST_IN_SLAB = 16


class Entries(NamedTuple):
    """Non-zero weights by the channel that they are summed into, in compressed rows.

    Those of channel c are starts[c] to starts[c + 1]; within a channel they are in the order in which they are summed.
    """

    starts: Ints  # [channels + 1]
    channel: Ints  # [non-zeros] the channel that is read
    row: Ints  # [non-zeros] of the kernel
    column: Ints  # [non-zeros] of the kernel
    position: Ints  # [non-zeros] flat index into the weight, or into the values where the entries are transposed


class Rows(NamedTuple):
    """What `spfde_exp.engine.kernels.gather` reads of the entries, for one shape of images and batch."""

    offsets: Ints  # [non-zeros], or [lines, non-zeros] of a ring
    bounds: Ints  # [slabs + 1, channels]


class Groups(NamedTuple):
    """Neighbouring non-zeros of one output channel whose gradients are computed in one pass over its rows."""

    first: Ints  # [groups]
    size: Ints  # [groups] one of `GROUPS`
    channel: Ints  # [groups]


class Structure:
    """Index structure of the non-zeros of a weight [O, I, KH, KW], or of the phases of its transpose.

    Attributes:
        shape: of the weight.
        inputs: channels of the input.
        entries: the non-zeros by output channel.
        plans: what whoever computes with them works out once.
    """

    def __init__(self, kept: Tensor, groups: int = 1) -> None:
        """`kept` is a boolean mask of the weight's shape; a row or a channel may be empty, and all of it too.

        Args:
            groups: of the convolution, each of which reads its own part of the input channels.
        """
        self.shape, self.inputs = torch.Size(kept.shape), kept.shape[1] * groups
        flat = np.flatnonzero(kept.detach().cpu().numpy())
        channel, source, row, column = np.unravel_index(flat, self.shape)
        self._target, self._source = channel, source
        plane = source + channel * groups // self.shape[0] * self.shape[1]
        self.entries = Entries(_starts(channel, self.shape[0]), plane, row, column, flat)
        self.plans: dict[Hashable, Any] = {}
        self._rows: dict[Hashable, Rows] = {}
        self._places: dict[tuple[int, ...], Ints] = {}

    @property
    def count(self) -> int:
        """Non-zeros."""
        return len(self.entries.channel)

    @property
    def density(self) -> float:
        """Share of non-zeros in the weight."""
        return self.count / self.shape.numel()

    def places(self, strides: tuple[int, ...]) -> Ints:
        """Where the non-zeros lie in the memory of a weight with such strides, in the order of `entries`."""
        if strides not in self._places:
            entries = self.entries
            o, i, row, column = strides
            places = self._target * o + self._source * i + entries.row * row + entries.column * column
            self._places[strides] = places
        return self._places[strides]

    def phase(self, stride: int, row: int, column: int) -> Entries:
        """Non-zeros by input channel that reach every `stride`-th row and column of the input.

        With the stride 1 this is the transpose. `position` is into the values in the order of `entries`.

        Args:
            row, column: the kernel's rows are those that are `row` modulo `stride`, and the columns likewise.
        """
        key = (stride, row, column)
        if key not in self._phases:
            entries = self.entries
            chosen = np.flatnonzero((entries.row % stride == row) & (entries.column % stride == column))
            order = chosen[np.argsort(entries.channel[chosen], kind="stable")]
            starts = _starts(entries.channel[order], self.inputs)
            self._phases[key] = Entries(starts, self._target[order], entries.row[order], entries.column[order], order)
        return self._phases[key]

    @cached_property
    def groups(self) -> Groups:
        """The non-zeros in groups for their gradients: as many of the largest size as there are, then smaller ones."""
        left, parts = np.diff(self.entries.starts), []
        for size in GROUPS:
            parts.append(left // size)
            left = left % size
        counts = np.stack(parts, 1).ravel()  # [channels x sizes]
        channels = self.shape[0]
        sizes = np.repeat(np.tile(np.array(GROUPS, dtype=np.int64), channels), counts)
        first = np.cumsum(sizes) - sizes
        return Groups(first, sizes, np.repeat(np.repeat(np.arange(channels), len(GROUPS)), counts))

    def rows(self, key: Hashable, entries: Entries, offsets: Callable[[], Ints], planes_at_once: int) -> Rows:
        """Offsets by `offsets`, and slabs of so many planes that are read; kept for `key`, which tells all of it."""
        if key not in self._rows:
            if len(self._rows) >= 16:  # a few sizes of batches and images; more are not worth the memory
                self._rows.clear()
            self._rows[key] = Rows(offsets(), _bounds(entries, planes_at_once))
        return self._rows[key]

    @cached_property
    def _phases(self) -> dict[tuple[int, int, int], Entries]:
        return {}


def _starts(sorted_channels: Ints, channels: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(sorted_channels, minlength=channels))]).astype(np.int64)


def _bounds(entries: Entries, planes_at_once: int) -> Ints:
    channels = len(entries.starts) - 1
    planes = int(entries.channel.max(initial=0)) + 1
    # A slab costs a load and a store of the sums: it is to hold some non-zeros of each channel.
    slabs = min(-(-planes // planes_at_once), max(1, len(entries.channel) // (channels * FEWEST_IN_SLAB)))
    firsts = np.linspace(0, planes, slabs + 1).round().astype(np.int64)
    # Entries are sorted by channel and, within it, by the plane that they read.
    target = np.repeat(np.arange(channels), np.diff(entries.starts))
    place = target * planes + entries.channel
    wanted = np.arange(channels) * planes + firsts[:, None]
    bounds = np.searchsorted(place, wanted.ravel()).reshape(wanted.shape)
    return np.ascontiguousarray(bounds, dtype=np.int64)
