"""Sparsity schemes: which weights of a layer are zero together (MEST section 3.1 and appendix A)."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

from spfde_exp.errors import UserError
from spfde_exp.sparse.layout import Layout, Patterns

Shape = Sequence[int]


def kernel_size(shape: Shape) -> str:
    """``3x3`` for the weight of such a convolution, ``linear`` for a matrix."""
    return "x".join(map(str, shape[2:])) or "linear"


def _unstructured(name: str, shape: Shape, block: Sequence[int]) -> Layout:
    return Layout(shape, 1, 1, "weights")


def _filter(name: str, shape: Shape, block: Sequence[int]) -> Layout:
    return Layout(shape, 1, prod(shape[1:]), "filters", indexed=False)


def _channel(name: str, shape: Shape, block: Sequence[int]) -> Layout:
    if shape[1] == 1:
        raise UserError(
            f"sparsity.scheme=channel needs layers of several input channels, and layer {name} has one for each "
            "filter (depthwise); choose sparsity.scheme=filter, block or unstructured"
        )
    return Layout(shape, shape[0], prod(shape[2:]), "channels", indexed=False)


def _block(name: str, shape: Shape, block: Sequence[int]) -> Layout:
    (m, n), columns = block, prod(shape[1:])
    if shape[0] % m or columns % n:
        raise UserError(
            f"sparsity.block=[{m},{n}] does not divide layer {name} of {shape[0]} x {columns} weights; "
            "allowed: two sizes that divide the two of every prunable layer"
        )
    return Layout(shape, m, n, "blocks")


def _pattern(name: str, shape: Shape, block: Sequence[int]) -> Layout:
    if kernel_size(shape) != "3x3":
        raise UserError(
            f"sparsity.scheme=pattern needs 3x3 kernels, and layer {name} is {kernel_size(shape)}; leave such "
            "layers dense with sparsity.prunable=block_3x3, or choose sparsity.scheme=hybrid"
        )
    return Patterns(shape)


def _hybrid(name: str, shape: Shape, block: Sequence[int]) -> Layout:
    return (_pattern if kernel_size(shape) == "3x3" else _block)(name, shape, block)


# `sparsity.scheme` -> the units of a layer, from its name, the shape of its weight, and `sparsity.block`
SCHEMES: dict[str, Callable[[str, Shape, Sequence[int]], Layout]] = {
    "unstructured": _unstructured,
    "filter": _filter,
    "channel": _channel,
    "block": _block,
    "pattern": _pattern,
    "hybrid": _hybrid,
}


def layouts(
    shapes: Mapping[str, Shape], scheme: str, block: Sequence[int] = (4, 1), groups: Mapping[str, int] | None = None
) -> dict[str, Layout]:
    """Layer -> its units under `scheme`.

    Args:
        shapes: layer -> shape of its weight, filters first.
        scheme: ``unstructured``; ``filter`` (output channels) or ``channel`` (input channels); ``block`` of
            `block` weights (m filters x n columns of the filters x (channels x kernel) matrix); ``pattern`` (3x3
            kernels with four entries, or none); ``hybrid`` (pattern for 3x3 kernels, block for all others).
        groups: layer -> groups of its convolution, where shapes do not tell; 1 if not given.

    Raises:
        UserError: a layer does not divide into such units.
    """
    if scheme == "pattern" and shapes and all(kernel_size(shape) != "3x3" for shape in shapes.values()):
        raise UserError(
            "sparsity.scheme=pattern needs 3x3 kernels, and no prunable layer of this model has any; "
            "choose sparsity.scheme=block, channel, filter or unstructured"
        )
    units = {name: SCHEMES[scheme](name, tuple(shape), block) for name, shape in shapes.items()}
    for name, count in (groups or {}).items():
        if scheme == "channel" and count > 1:
            raise UserError(
                "sparsity.scheme=channel needs filters that all read the same input channels, and layer "
                f"{name} has {count} groups of them; choose sparsity.scheme=filter, block or unstructured"
            )
    return units
