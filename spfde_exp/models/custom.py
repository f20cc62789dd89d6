"""A user's own network (`model=custom`): any nn.Module, with a frozen prefix of blocks."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from spfde_exp.cost.layers import run_example
from spfde_exp.errors import UserError

from .base import BlockModel, check_frozen
from .find_blocks import Blocks, find_blocks, given_blocks


class CustomModel(BlockModel):
    """`net` as it is, with blocks; names of its parameters begin with ``net.``.

    Parameters of frozen blocks need no gradient while they are frozen. As the blocks run one after the other from the
    input on, autograd then stores nothing for them.
    """

    chained: ClassVar[bool] = False

    def __init__(self, net: nn.Module, blocks: Blocks) -> None:
        super().__init__()
        self.net = net
        self._blocks = [(name, [f"net.{member}" for member in members]) for name, members in blocks]
        # A parameter that the user does not train stays so.
        self._members = [
            [p for n, p in self.named_parameters() if p.requires_grad and _within(n, members)]
            for _, members in self._blocks
        ]
        self._frozen = 0

    def blocks(self) -> Blocks:
        return [(name, list(members)) for name, members in self._blocks]

    def freeze(self, blocks: int) -> None:
        """Parameters of the first `blocks` blocks need no gradient from now on, those of the others do."""
        if blocks != self._frozen:
            for index, parameters in enumerate(self._members):
                for parameter in parameters:
                    parameter.requires_grad_(index >= blocks)
            self._frozen = blocks

    def forward(self, x: Tensor, frozen: int = 0) -> Tensor:
        check_frozen(frozen, len(self._blocks))
        if torch.is_grad_enabled():
            self.freeze(frozen)
        return _logits(self.net(x), type(self.net).__name__)


def find_callable(target: str, allow: Sequence[str]) -> Callable[..., Any]:
    """What ``package.module.callable`` names.

    Importing a module runs its code, so only what lies in (or below) the modules of `allow` is imported.

    Raises:
        UserError: it is not allowed, or not there.
    """
    module_name, _, name = target.rpartition(".")
    if not any(_below(target, prefix) for prefix in allow):
        raise UserError(
            f"model.target={target} is not in model.allow ({', '.join(allow) or 'empty'}): importing a module runs its "
            f"code; if you trust it, add it, as in model.allow=[{','.join([*allow, module_name or target])}]"
        )
    try:
        with torch.random.fork_rng(devices=[]):  # what an import draws must not change the weights
            module = importlib.import_module(module_name)
    except Exception as error:
        hint = "; is it installed, or its folder on PYTHONPATH?" if isinstance(error, ImportError) else ""
        raise UserError(f"model.target={target}: {module_name} cannot be imported ({_told(error)}){hint}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise UserError(f"model.target={target}: {module_name} has nothing to call by the name of {name!r}")
    home = str(getattr(found, "__module__", ""))
    if not any(_below(home, prefix) or _below(f"{home}.{name}", prefix) for prefix in allow):
        raise UserError(f"model.target={target} comes from {home}, which is not in model.allow; name it there")
    return found


def build_custom(
    make: Callable[..., Any],
    kwargs: Mapping[str, Any],
    blocks: str | Sequence[Sequence[str]],
    num_classes: int,
    shape: Sequence[int],
) -> CustomModel:
    """The network that `make` gives, with the blocks that are found in it (``auto``) or named.

    Args:
        make: called with `kwargs`, and with num_classes and in_channels where it takes them by these names (num_classes
            also where it takes any).
        shape: of an image, (C, H, W).

    Raises:
        UserError: it cannot be called so, gives no module, or not logits of such images; or the blocks are impossible.
    """
    told = f"{getattr(make, '__module__', '')}.{getattr(make, '__qualname__', make)}"
    arguments = _accepted(make, {"num_classes": num_classes, "in_channels": shape[0]}) | dict(kwargs)
    try:
        net = make(**arguments)
    except Exception as error:
        said = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise UserError(f"{told}({said}) fails: {_told(error)}; set model.kwargs to what it takes") from error
    if not isinstance(net, nn.Module):
        raise UserError(f"{told} gives a {type(net).__name__}; it must give a torch.nn.Module")

    def run() -> Tensor:
        return run_example(net, shape)

    with torch.no_grad():
        logits = _logits(run(), told)
    if tuple(logits.shape) != (1, num_classes):
        raise UserError(
            f"{told} gives {tuple(logits.shape)} for one image, where (1, {num_classes}) is needed: one logit for each "
            "class; set the number of classes by model.kwargs"
        )
    return CustomModel(net, find_blocks(net, run) if isinstance(blocks, str) else given_blocks(net, blocks, run))


def _accepted(make: Callable[..., Any], arguments: Mapping[str, int]) -> dict[str, int]:
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return {}
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    named = {key: value for key, value in arguments.items() if key in parameters}
    return {"num_classes": arguments["num_classes"], **named} if anything else named


def _logits(out: Any, told: str) -> Tensor:
    if not isinstance(out, Tensor):
        raise UserError(f"{told} returns a {type(out).__name__}; it must return the logits, a tensor, also in training")
    return out


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _within(name: str, members: Sequence[str]) -> bool:
    return any(_below(name, member) for member in members)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
