"""Whether hooks of a layer read its numbers: where none does, they need not be made for hooks alone."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

__all__ = ["reads_numbers", "reads_shapes_only"]

Hook = TypeVar("Hook", bound=Callable[..., Any])
_MARK = "reads_shapes_only"
_OF_A_MODULE = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
_OF_ALL = tuple(f"_global{kind}" for kind in _OF_A_MODULE)


def reads_shapes_only(hook: Hook) -> Hook:
    """`hook`, a function, marked as one that looks at no numbers of the tensors that it is given, and changes none."""
    setattr(hook, _MARK, hook)  # itself, as wrappers of a function have its attributes
    return hook


def reads_numbers(module: nn.Module) -> bool:
    """Whether a hook of `module`, or of all modules, may look at its input, result or gradients, or change them."""
    hooks = [getattr(module, kind) for kind in _OF_A_MODULE] + [getattr(nn.modules.module, kind) for kind in _OF_ALL]
    return any(getattr(hook, _MARK, None) is not hook for those in hooks for hook in those.values())
