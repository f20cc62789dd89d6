"""What the kernels of a unit are told in every step: where numbers lie, and offsets of non-zeros in an image or a ring.

Of a ring of lines, kernels read a few image rows of all channels, made a little before.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spfde_exp.engine.conv import Source
from spfde_exp.engine.gradients import lines_at_once
from spfde_exp.engine.kernels import Ints
from spfde_exp.engine.layout import border_of
from spfde_exp.engine.structure import Entries, Rows, Structure
from spfde_exp.engine.unit_kernels import Numbers

__all__ = ["WHOLE", "Geometry", "Plan", "geometry_of", "plan_of"]

WHOLE = 1 << 19  # numbers of a gradient up to which all of its lines are no slower than a ring of them


class Geometry(NamedTuple):
    """Where the numbers of a tensor [N, C, H, W] in the layout lie in its padded buffer.

    Attributes:
        size: of the buffer.
        origin: where in it the first number of the tensor lies.
        plane, row: from a channel to the next, and from an image row.
    """

    size: int
    origin: int
    plane: int
    row: int

    def address(self, tensor: Tensor | None) -> int:
        """That of the buffer, 0 without a tensor."""
        return 0 if tensor is None else tensor.data_ptr() - tensor.itemsize * self.origin


def geometry_of(x: Tensor | None) -> Geometry:
    """That of a tensor in the layout; of none, all zeros."""
    if x is None:
        return Geometry(0, 0, 0, 0)
    n, channels, height, width = x.shape
    return _geometry(n, channels, height, width, border_of(x) or 0)


def _geometry(n: int, channels: int, height: int, width: int, border: int) -> Geometry:
    row = (width + 2 * border) * n
    plane = (height + 2 * border) * row
    return Geometry(channels * plane, border * (row + n), plane, row)


class Plan(NamedTuple):
    """What the kernels are told in every step: made once per mask, shape and borders."""

    places: Ints
    offsets: Ints  # of the forward pass: [1, non-zeros], or of a ring of lines, [kernel, non-zeros]
    bounds: Ints
    ahead: tuple[int, int, int]
    numbers: Numbers
    x: Geometry
    out: Geometry
    residual: Geometry
    back_places: Ints  # of the transposed non-zeros, which `position` tells, and so on
    position: Ints
    back_rows: Rows  # of a ring of lines, or of all lines


def plan_of(
    structure: Structure, strides: tuple[int, ...], shape: torch.Size, borders: tuple[int, int, int], pending: bool
) -> Plan:
    """That of a unit with such a structure.

    Args:
        strides: of the weight.
        shape: of x, [N, C, H, W].
        borders: of x, the residual and the result.
        pending: whether x is yet to be normalised, and so read from a ring.
    """
    key = "unit", strides, shape, borders, pending
    found: Plan | None = structure.plans.get(key)
    if found is not None:
        return found
    n, inputs, h, w = shape
    x_border, residual_border, border = borders
    outputs, _, kernel, _ = structure.shape
    padding = kernel // 2
    x, out = _geometry(n, inputs, h, w, x_border), _geometry(n, outputs, h, w, border)
    residual = _geometry(n, outputs, h, w, residual_border)
    source = Source(x.plane, x.row, n, x_border - padding, 1)
    entries, back = structure.entries, structure.phase(1, 0, 0)
    rows = source.rows(structure)
    if pending:
        rows = _ring_rows(structure, entries, (entries.row, entries.column), (kernel, kernel), n, w)
    places = structure.places(strides)
    # The transposed kernel is the other way round.
    turned = kernel - 1 - back.row, kernel - 1 - back.column
    whole, lines = h + kernel - 1, int(lines_at_once(h, w * n)) + kernel - 1
    if outputs * whole * (w + kernel - 1) * n <= WHOLE:
        lines = whole
    numbers = Numbers(
        outputs, h, w * n, inputs, kernel, padding * n, lines, structure.shape.numel(), *x, *out, *residual
    )
    back_rows = _ring_rows(structure, back, turned, (lines, 1 if lines == whole else lines), n, w)
    plan = Plan(
        places,
        np.atleast_2d(rows.offsets),
        rows.bounds,
        (0, 0, 0) if pending else source.ahead(inputs, kernel),
        numbers,
        x,
        out,
        residual,
        places[back.position],
        back.position,
        back_rows,
    )
    structure.plans[key] = plan
    return plan


def _ring_rows(
    structure: Structure, entries: Entries, places: tuple[Ints, Ints], lines: tuple[int, int], n: int, width: int
) -> Rows:
    """What is read of a ring of lines of an image, [channels, lines, width + 2 padding, N].

    Offsets are [lines, non-zeros]: for the first line of the output, the second and so on, and again from the first.

    Args:
        places: row and column of the kernel for each of `entries`.
        lines: of the ring, and for how many there are to be offsets.
    """
    row = (width + structure.shape[2] - 1) * n
    ring = Source(lines[0] * row, row, n, 0, 1)

    def make() -> Ints:
        line = (np.arange(lines[1])[:, None] + places[0]) % lines[0]
        return entries.channel * ring.plane + line * row + places[1] * n

    key = "ring", entries is structure.entries, lines, ring
    return structure.rows(key, entries, make, ring.planes_at_once(structure))
