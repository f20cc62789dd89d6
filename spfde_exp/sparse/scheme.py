"""Sparsity schemes: which weights of a layer are zero together (MEST section 3.1 and appendix A)."""

from collections.abc import Mapping, Sequence
from math import prod

from spfde_exp.errors import UserError
from spfde_exp.sparse.layout import KERNEL, Layout, Patterns

Shape = Sequence[int]


def layouts(shapes: Mapping[str, Shape], scheme: str, block: Sequence[int] = (4, 1)) -> dict[str, Layout]:
    """Layer -> its units under `scheme`.

    Args:
        shapes: layer -> shape of its weight, filters first.
        scheme: ``unstructured``; ``filter`` (output channels) or ``channel`` (input channels); ``block`` of
            `block` weights (m filters x n columns of the filters x (channels x kernel) matrix); ``pattern`` (3x3
            kernels with four entries, or none); ``hybrid`` (pattern for 3x3 kernels, block for all others).

    Raises:
        UserError: a layer does not divide into such units.
    """
    return {name: _layout(name, tuple(shape), scheme, block) for name, shape in shapes.items()}


def _layout(name: str, shape: tuple[int, ...], scheme: str, block: Sequence[int]) -> Layout:
    columns, kernel = prod(shape[1:]), prod(shape[2:])
    if scheme == "hybrid":
        scheme = "pattern" if shape[2:] == (3, 3) else "block"
    if scheme == "filter":
        return Layout(shape, 1, columns, "filters")
    if scheme == "channel":
        return Layout(shape, shape[0], kernel, "channels")
    if scheme == "pattern":
        if kernel != KERNEL or shape[2:] != (3, 3):
            size = "x".join(map(str, shape[2:])) or "linear"
            raise UserError(
                f"sparsity.scheme=pattern needs 3x3 kernels, and layer {name} is {size}; leave it out with "
                "sparsity.prunable=block_3x3, or take sparsity.scheme=hybrid or block"
            )
        return Patterns(shape)
    if scheme == "block":
        m, n = block
        if shape[0] % m or columns % n:
            raise UserError(
                f"sparsity.block=[{m},{n}] does not divide layer {name} of {shape[0]} x {columns} weights; "
                "allowed: sizes that divide both"
            )
        return Layout(shape, m, n, "blocks")
    return Layout(shape, 1, 1, "weights")
