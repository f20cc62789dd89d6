"""Whether hooks of a layer read its numbers: where none does, they need not be made for hooks alone."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

__all__ = ["reads_numbers", "reads_shapes_only"]

Hook = TypeVar("Hook", bound=Callable[..., Any])
_MARK = "reads_shapes_only"
_KINDS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"


def reads_shapes_only(hook: Hook) -> Hook:
    """`hook`, marked as one that looks at no numbers of the tensors that it is given, and changes none."""
    setattr(hook, _MARK, True)
    return hook


def reads_numbers(module: nn.Module) -> bool:
    """Whether a hook of `module` itself may look at its input or result, or at their gradients, or change them."""
    return any(not hasattr(hook, _MARK) for kind in _KINDS for hook in getattr(module, kind).values())
