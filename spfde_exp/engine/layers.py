"""Modules that stand in a traced network for others of the model, whose parameters and buffers they use."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.engine.conv import sparse_conv2d
from spfde_exp.engine.norm import batch_norm
from spfde_exp.engine.structure import Structure
from spfde_exp.engine.unit import Norm, Pending, conv_norm, conv_pending, finished
from spfde_exp.hooked import reads_numbers

__all__ = ["SparseConv", "SparseNorm", "SparseUnit", "can_convolve", "can_normalise", "can_unite"]


def can_convolve(module: nn.Module) -> bool:
    """Whether `SparseConv` can stand for `module`: an ordinary convolution, square, odd, padded by half its kernel."""
    if type(module) is not nn.Conv2d or module.dilation != (1, 1):
        return False
    kernel, stride = module.kernel_size[0], module.stride
    if module.kernel_size != (kernel, kernel) or kernel % 2 == 0 or stride not in ((1, 1), (2, 2)):
        return False
    same = module.padding == "same" or (kernel == 1 and module.padding == "valid")
    return module.padding_mode == "zeros" and (same or module.padding == (kernel // 2, kernel // 2))


def can_normalise(module: nn.Module) -> bool:
    """Whether `SparseNorm` can stand for `module`: batch norm with parameters and running statistics."""
    return (
        type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats and module.momentum is not None
    )


class SparseConv(nn.Module):
    """A convolution by its non-zero weights."""

    def __init__(self, conv: nn.Conv2d, structure: Callable[[], Structure]) -> None:
        """Stand for `conv`; `structure` gives that of its weight as it is now."""
        super().__init__()
        self.conv, self.structure = conv, structure

    def forward(self, x: Tensor) -> Tensor:
        return called(self.conv, self._convolve, x)

    def _convolve(self, x: Tensor) -> Tensor:
        y = sparse_conv2d(x, self.conv.weight, self.structure(), self.conv.stride[0])
        return y if self.conv.bias is None else y + self.conv.bias.view(-1, 1, 1)


class SparseNorm(nn.Module):
    """Batch norm, with the addition of a residual and ReLU after it where the network has them."""

    def __init__(self, norm: nn.BatchNorm2d, relu: bool, border: int) -> None:
        """Stand for `norm`.

        Args:
            relu: whether ReLU comes last.
            border: that the convolutions need which read the result, or the gradient of the input.
        """
        super().__init__()
        self.norm, self.relu, self.border = norm, relu, border

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        norm = self.norm
        if residual is not None and residual.shape != x.shape:  # broadcast
            y = norm(x) + residual
            return F.relu(y) if self.relu else y
        weight, bias, mean, variance, momentum, eps, batches = tensors(norm)
        if norm.training and batches is not None:
            batches.detach().add_(1)
        return batch_norm(
            x, mean, variance, weight, bias, training=norm.training, momentum=momentum, eps=eps, residual=residual,
            relu=self.relu, border=self.border,
        )  # fmt: skip


def can_unite(conv: SparseConv) -> bool:
    """Whether `SparseUnit` can stand for `conv` and the batch norm behind it."""
    return conv.conv.stride == (1, 1) and conv.conv.bias is None


class SparseUnit(nn.Module):
    """A `SparseConv` that one `can_unite` and the `SparseNorm` that alone reads it.

    With a residual of its own shape, they are one step of autograd, whose result hooks of the convolution see as its
    own.

    Attributes:
        readers: how many modules of the engine read the result, which comes as often as that: 1 or 2.
        passes: whether it passes on what it reads, behind its own result.
    """

    _reader: "SparseUnit | None"
    _first: "SparseUnit | None"

    def __init__(self, conv: SparseConv, norm: SparseNorm) -> None:
        """Stand for both."""
        super().__init__()
        self.conv, self.norm, self.readers, self.passes = conv, norm, 1, False
        self._stand_before(None, None)

    def _stand_before(self, reader: "SparseUnit | None", first: "SparseUnit | None") -> None:
        object.__setattr__(self, "_reader", reader)  # which is to be no submodule of this one
        object.__setattr__(self, "_first", first)

    def leave_to(self, reader: "SparseUnit") -> None:
        """Have `reader`, which alone reads the result, and adds nothing to it, make it from that of the convolution.

        From now on the result is a pair, `x` and `before` of the reader. Where a hook of one of both convolutions reads
        numbers, `x` is made here.
        """
        self._stand_before(reader, None)

    def pass_by(self, first: "SparseUnit") -> None:
        """Have the second reader of the result get it from the `first` one, which leaves its own to a reader.

        The gradients of both are added where `first` computes its own. From now on the result is a pair: `x` of `first`
        and what it is to pass on, None if that is `x`. Where a hook of a convolution that has to do with it reads
        numbers, gradients are added here.
        """
        self._stand_before(None, first)
        first.passes = True

    def forward(
        self, x: Tensor, residual: Tensor | None = None, before: Pending | None = None, other: Tensor | None = None
    ) -> Any:
        """The result, as often as it is read.

        Args:
            before: what the unit that made `x` has left to do, if anything.
            other: what is passed on behind the result; `x` if it is None. Of units with a reader that `passes` only.
        """
        if self._reader is None:
            return self._made(x, residual, before)
        through, made = self.passes and other is None, list[Any]()
        # Who gives nothing to pass on has looked at the same hooks, and found nobody.
        if self.is_looked_at() and not through:
            return self._made(x, residual, before), None, *([other] if self.passes else [])
        z = called(self.conv.conv, partial(self._unit, partial(conv_pending, through=through), before, made), x)
        return z, made[0][1], *([made[0][2] if through else other] if self.passes else [])

    @property
    def leaves(self) -> bool:
        """Whether it leaves its result to a reader."""
        return self._reader is not None

    def is_looked_at(self) -> bool:
        """Whether hooks of its convolution, or of the one that it leaves its result to, may read numbers."""
        units = [self] if self._reader is None else [self, self._reader]
        return any(reads_numbers(unit.conv.conv) for unit in units)

    def _made(self, x: Tensor, residual: Tensor | None, before: Pending | None) -> Any:
        shape = x.shape[0], self.conv.conv.out_channels, *x.shape[2:]
        if residual is not None and residual.shape != shape:  # broadcast
            x = x if before is None else finished(x, before)
            results = (self.norm(self.conv(x), residual),) * self.readers
        else:
            made: list[Any] = []
            passed = self._first is not None and not self.is_looked_at() and not self._first.is_looked_at()
            readers = 1 if passed else self.readers
            unit = partial(conv_norm, residual=residual, border=self.norm.border, readers=readers, opened=passed)
            y = called(self.conv.conv, partial(self._unit, unit, before, made), x)
            if passed:
                return y, None
            results = made[0] if y is made[0][0] else (y,) * self.readers  # a hook may put another in its place
        return results if self.readers > 1 else results[0]

    def _unit(self, unit: Callable[..., Any], before: Pending | None, made: list[Any], x: Tensor) -> Tensor:
        """The first of the results of `unit`, all of which are put into `made`."""
        conv, norm = self.conv.conv, self.norm
        results = unit(
            x, conv.weight, self.conv.structure(), tensors(norm.norm), training=norm.norm.training, relu=norm.relu,
            before=before,
        )  # fmt: skip
        made.append(results)
        y: Tensor = results[0]
        return y


def called(module: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`forward(x)` by the call of `module`, so that what hooks it sees the layer run."""
    module.__dict__["forward"] = forward
    try:
        y: Tensor = module(x)
    finally:
        del module.__dict__["forward"]
    return y


def tensors(norm: nn.BatchNorm2d) -> Norm:
    """What a batch norm that `can_normalise` computes with."""
    mean, variance, momentum = norm.running_mean, norm.running_var, norm.momentum
    assert mean is not None and variance is not None and momentum is not None
    return Norm(norm.weight, norm.bias, mean, variance, momentum, norm.eps, norm.num_batches_tracked)
