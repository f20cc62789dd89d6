"""Blocks of a network that knows nothing of blocks: found, or given by name, and checked by running it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from spfde_exp.errors import UserError

Blocks = list[tuple[str, list[str]]]
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def find_blocks(net: nn.Module, run: Callable[[], Tensor]) -> Blocks:
    """Blocks of `net` in the order of execution: name, and the names of the modules and parameters in it.

    The network is opened, and so is every stage in it: an ``nn.Sequential`` or ``nn.ModuleList`` of several modules
    with weights. Each module inside makes a block; what has only vectors, such as a batch norm, joins the one before.
    Single layers before the first module of several layers (a stem) join its block. The last one with weights is the
    classifier, in no block, as is all that follows it. Parameters that an opened module holds itself belong to the
    first block. Where this gives less than two blocks, the module with most parameters is opened too.

    Args:
        run: one forward pass of an example.

    Raises:
        UserError: there are less than two blocks, or they do not run one after the other.
    """
    pieces, loose = _opened(net, "")
    while True:
        blocks = _grouped(net, _as_executed(net, pieces, run))
        if len(blocks) > 1:
            break
        closed = [name for name in pieces if _layers(net.get_submodule(name)) > 1]
        if not closed:
            raise UserError(
                "fewer than two blocks were found in the model; name them by model.blocks=[[MODULE,...],...]"
            )
        largest = max(closed, key=lambda name: _size(net, name))
        inner, parameters = _opened(net.get_submodule(largest), f"{largest}.")
        pieces = [name for piece in pieces for name in (inner if piece == largest else [piece])]
        loose += parameters
    blocks[0][1][:0] = loose
    check_blocks(net, blocks, run)
    return blocks


def given_blocks(net: nn.Module, members: Sequence[Sequence[str]], run: Callable[[], Tensor]) -> Blocks:
    """The blocks that `members` lists, each under the name of its last member with weights.

    Raises:
        UserError: a name that is not in the model, a module in two blocks, or blocks that do not run in this order.
    """
    parameters, modules = dict(net.named_parameters()), dict(net.named_modules())
    seen: dict[int, str] = {}
    for name in (name for block in members for name in block):
        if name not in parameters and (name not in modules or not name):
            raise UserError(f"model.blocks names {name!r}, which the model does not have; it has {_some(modules)}")
        held = [parameters[name]] if name in parameters else list(modules[name].parameters())
        for parameter in held:
            if id(parameter) in seen:
                raise UserError(f"model.blocks names a parameter twice: {seen[id(parameter)]!r} and {name!r} share it")
        seen |= {id(parameter): name for parameter in held}
    blocks = _named(net, members)
    check_blocks(net, blocks, run)
    return blocks


def check_blocks(net: nn.Module, blocks: Blocks, run: Callable[[], Tensor]) -> None:
    """Blocks run one after the other, and nothing that is trained longer comes before a frozen one.

    Raises:
        UserError: they do not.
    """
    owner: dict[int, int] = {}  # of a module in two blocks the first
    for k, (_, members) in enumerate(blocks):
        owner = {id(module): k for name in members for module in _modules(net, name)} | owner
    cold = {id(p) for _, members in blocks for name in members for p in _parameters(net, name)}
    order: list[tuple[int, str]] = []
    stored: list[int] = []

    def look(module: nn.Module, name: str, out: Any) -> None:
        if any(True for _ in module.parameters(recurse=False)):
            order.append((owner.get(id(module), len(blocks)), name))
        if id(module) in owner and any(isinstance(t, Tensor) and t.requires_grad for t in tree_leaves(out)):
            stored.append(owner[id(module)])

    trainable = [p for p in net.parameters() if p.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(id(parameter) not in cold)
        with torch.enable_grad(), _hooked(net, look):
            logits = run()
    finally:
        for parameter in trainable:
            parameter.requires_grad_()
    for (before, first), (after, second) in pairwise(order):
        if before > after:
            told = f"{second!r} of block {blocks[after][0]} runs after {first!r}"
            if before == len(blocks):
                raise UserError(f"{told}, which is in no block; add that to model.blocks")
            raise UserError(
                f"{told} of block {blocks[before][0]}; give blocks that run one after the other by "
                "model.blocks=[[MODULE,...],...]"
            )
    for k, (name, members) in enumerate(blocks):
        if not any(index == k for index, _ in order) and any(_modules(net, member) for member in members):
            raise UserError(
                f"block {name} of the model runs no layer that has parameters; leave it out of model.blocks"
            )
    if stored:
        raise UserError(
            f"block {blocks[stored[0]][0]} uses parameters of no block, so that freezing it would save nothing; "
            "add them to model.blocks, by name"
        )
    if trainable and not logits.requires_grad:
        raise UserError("model.blocks must leave the classifier out: something has to be trained to the end")


def _opened(module: nn.Module, prefix: str) -> tuple[list[str], list[str]]:
    """Names of the pieces of `module`, and of the parameters that it and the stages in it hold themselves."""
    pieces: list[str] = []
    loose = [prefix + name for name, _ in module.named_parameters(recurse=False)]
    for name, child in module.named_children():
        if _is_stage(child):
            inner, parameters = _opened(child, f"{prefix}{name}.")
            pieces += inner
            loose += parameters
        else:
            pieces.append(prefix + name)
    return pieces, loose


def _is_stage(module: nn.Module) -> bool:
    """Whether the children of `module` run one after the other: a subclass of a container may do as it likes."""
    if not isinstance(module, CONTAINERS):
        return False
    layers = [_layers(child) for child in module.children()]
    return any(n > 1 for n in layers) or (type(module) in CONTAINERS and sum(n > 0 for n in layers) > 1)


def _layers(module: nn.Module) -> int:
    """Number of layers with weights in `module`; a batch norm has none, only vectors."""
    return sum(any(p.ndim > 1 for p in m.parameters(recurse=False)) for m in module.modules())


def _as_executed(net: nn.Module, pieces: Sequence[str], run: Callable[[], Tensor]) -> list[str]:
    """The pieces that hold parameters and run, in the order of their first layers."""
    owner = {id(module): name for name in reversed(pieces) for module in _modules(net, name)}
    first: dict[str, None] = {}

    def look(module: nn.Module, _: str, __: Any) -> None:
        if id(module) in owner:
            first.setdefault(owner[id(module)])

    with torch.no_grad(), _hooked(net, look):
        run()
    return [name for name in first if _size(net, name)]


def _grouped(net: nn.Module, pieces: Sequence[str]) -> Blocks:
    """Blocks of `pieces`, which are in the order of execution."""
    layers = {name: _layers(net.get_submodule(name)) for name in pieces}
    *weighty, classifier = [name for name in pieces if layers[name]] or [""]
    if not weighty:
        return []
    body = pieces[: pieces.index(classifier)]
    start = body.index(next((name for name in weighty if layers[name] > 1), weighty[0]))
    blocks: list[list[str]] = []
    for index, name in enumerate(body):
        opens = name in weighty and index > start
        if opens or not blocks:
            blocks.append([])
        blocks[-1].append(name)
    return _named(net, blocks)


def _named(net: nn.Module, blocks: Sequence[Sequence[str]]) -> Blocks:
    """Each block under the name of its last member with weights."""
    answer = []
    for members in blocks:
        layered = [name for name in members if any(_layers(module) for module in _modules(net, name))]
        answer.append(([members[0], *layered][-1], list(members)))
    return answer


@contextmanager
def _hooked(net: nn.Module, look: Callable[[nn.Module, str, Any], None]) -> Iterator[None]:
    """Within, `look` sees every module that has run, its name and what it returned."""
    handles = [
        module.register_forward_hook(lambda m, _, out, name=name: look(m, name, out))
        for name, module in net.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _modules(net: nn.Module, name: str) -> list[nn.Module]:
    """The module `name` and all within; none for a parameter."""
    try:
        return list(net.get_submodule(name).modules())
    except AttributeError:
        return []


def _parameters(net: nn.Module, name: str) -> list[nn.Parameter]:
    modules = _modules(net, name)
    return list(modules[0].parameters()) if modules else [net.get_parameter(name)]


def _size(net: nn.Module, name: str) -> int:
    return sum(p.numel() for p in _parameters(net, name))


def _some(names: Sequence[str] | dict[str, nn.Module]) -> str:
    told = [name for name in names if name]
    return ", ".join(told[:8]) + (", ..." if len(told) > 8 else "")
