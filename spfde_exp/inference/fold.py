"""Networks without batch norm: at rest it is a factor and a shift, which the convolution before it takes in."""

import copy

import torch
from torch import fx
from torch.fx.experimental.optimization import fuse

from spfde_exp.models.base import BlockModel
from spfde_exp.models.part import Part


def folded(model: BlockModel, blocks: int | None = None) -> fx.GraphModule:
    """What `model`, or its first `blocks` blocks, computes in evaluation mode, with batch norm in the convolutions.

    Returns:
        A module in evaluation mode that holds its own weights, without gradients: later changes of `model` leave it as
        it is.

    Raises:
        ValueError: it cannot be traced (control flow that depends on data), or its blocks cannot run alone.
    """
    if blocks is not None and not model.chained:
        raise ValueError(f"the blocks of {type(model).__name__} cannot run alone")
    try:
        traced = fx.symbolic_trace(Part(model, blocks or 0, leading=blocks is not None))
    except Exception as error:  # whatever the model's own code trips over when it is given no tensor
        raise ValueError(f"{type(model).__name__} cannot be traced: {error}") from error
    precision = next(model.parameters()).dtype
    with torch.no_grad():  # in double precision, so that each weight is rounded but once
        answer = fuse(copy.deepcopy(traced).eval().double(), inplace=True, no_trace=True).to(precision)
    assert isinstance(answer, fx.GraphModule)
    return answer.requires_grad_(False).to(memory_format=torch.channels_last)
