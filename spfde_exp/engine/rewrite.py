"""Networks whose convolutions, batch norms, residual additions and ReLUs are the engine's, by rewriting a trace."""

import operator
from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from spfde_exp.engine.layers import SparseConv, SparseNorm, SparseUnit, can_normalise, can_unite
from spfde_exp.engine.structures import Structures
from spfde_exp.models.part import NET

__all__ = ["rewritten", "traced"]

ADDITIONS = (torch.add, operator.add, operator.iadd)
RELU_FUNCTIONS = (F.relu, torch.relu)
RELU_METHODS = ("relu", "relu_")


def traced(part: nn.Module) -> fx.GraphModule:
    """`part` as a graph, in the modes (training or evaluation) that its modules are in; it shares them.

    Raises:
        ValueError: it cannot be traced (control flow that depends on data).
    """
    try:
        return fx.symbolic_trace(part)
    except Exception as error:  # whatever the model's own code trips over when it is given no tensor
        raise ValueError(f"it cannot be traced: {' '.join(str(error).split())[:200]}") from error


def rewritten(module: fx.GraphModule, sparse: Collection[str], structures: Structures) -> fx.GraphModule:
    """`module` with the convolutions `sparse` by their non-zeros, and what lies between them in one pass each.

    What one convolution alone reads of a batch norm is left to that convolution to make; what the first convolution of
    a block and a residual read goes to the residual by way of that convolution.

    The parameters, buffers and convolutions are those of `module`: whatever changes them, or hooks a convolution, does
    so here as well. Hooks of batch norms and ReLUs that became one module do not.

    Args:
        module: as `traced` gives it, of a module that has the model as `NET`; it is rewritten itself.
        sparse: names in the model of convolutions that `can_convolve`.
    """
    graph, modules = module.graph, dict(module.named_modules())
    for index, node in enumerate(list(graph.nodes)):
        name = _layer(node)
        if name is not None and name in sparse:
            conv = modules[str(node.target)]
            assert isinstance(conv, nn.Conv2d)
            _stand_in(module, node, SparseConv(conv, structures.of(name, conv.weight.shape)), f"engine_conv{index}")
    modules = dict(module.named_modules())
    for index, node in enumerate(list(graph.nodes)):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(norm, nn.BatchNorm2d) and can_normalise(norm) and len(node.args) == 1:
            _fuse(module, node, norm, modules, f"engine_norm{index}")
    modules = dict(module.named_modules())
    for node in list(graph.nodes):
        if isinstance(unit := _engines(node, modules), SparseUnit):
            _give_each(graph, node, unit, modules)
    for node in list(graph.nodes):
        if isinstance(_engines(node, modules), SparseUnit) and (source := _read_alone(node, modules)) is not None:
            _leave_to(graph, node, source, modules)
    for node in list(graph.nodes):
        if isinstance(unit := _engines(node, modules), SparseUnit) and unit.readers == 2 and unit.norm.relu:
            _pass_by(graph, node, unit, modules)
    graph.lint()
    module.recompile()
    module.delete_all_unused_submodules()
    return module


def _layer(node: fx.Node) -> str | None:
    """Name in the model of the module that `node` calls."""
    target = str(node.target)
    return target.removeprefix(f"{NET}.") if node.op == "call_module" and target.startswith(f"{NET}.") else None


def _stand_in(module: fx.GraphModule, node: fx.Node, part: nn.Module, name: str) -> None:
    module.add_submodule(name, part)
    node.target = name


def _fuse(module: fx.GraphModule, node: fx.Node, norm: nn.BatchNorm2d, modules: dict[str, Any], name: str) -> None:
    """Put a `SparseNorm` in place of the batch norm `node`, and of what follows it, if sparse convolutions are near."""
    last, residual = node, None
    added = _only_user(last)
    if added is not None and _is_addition(added, last):
        (residual,) = (argument for argument in added.args if argument is not last)
        last = added
    activation = _only_user(last)
    relu = activation is not None and _is_relu(activation, modules)
    if relu:
        assert activation is not None
        last = activation
    source = node.args[0]
    assert isinstance(source, fx.Node)
    near = [_kernel(other, modules) for other in (source, *last.users)]
    if not any(near):
        return
    fused_norm = SparseNorm(norm, relu, max(near) // 2)
    part: nn.Module = fused_norm
    done = [last, added if residual is not None else None, node]
    conv = modules.get(str(source.target))
    if isinstance(conv, SparseConv) and len(source.users) == 1 and can_unite(conv) and modules[NET].training:
        part = SparseUnit(conv, fused_norm)
        done.append(source)
        source = source.args[0]
    module.add_submodule(name, part)
    with module.graph.inserting_after(last):
        fused = module.graph.call_module(name, (source,) if residual is None else (source, residual))
    last.replace_all_uses_with(fused)
    for old in dict.fromkeys(done):
        if old is not None:
            module.graph.erase_node(old)


def _give_each(graph: fx.Graph, node: fx.Node, unit: SparseUnit, modules: dict[str, Any]) -> None:
    """Have `unit` give two readers of its result, modules of the engine, one each, to the earlier one the first."""
    readers = sorted(node.users, key=list(graph.nodes).index)
    if len(readers) != 2 or None in (_engines(reader, modules) for reader in readers):
        return
    unit.readers = 2
    for index, reader in enumerate(readers):
        with graph.inserting_before(reader):
            reader.replace_input_with(node, graph.call_function(operator.getitem, (node, index)))


def _leave_to(graph: fx.Graph, node: fx.Node, source: fx.Node, modules: dict[str, Any]) -> None:
    """Have the unit `node` make for itself what the unit `source` would give to it alone."""
    modules[str(source.target)].leave_to(modules[str(node.target)])
    with graph.inserting_after(source):
        before = graph.call_function(operator.getitem, (source, 1))
        x = graph.call_function(operator.getitem, (source, 0))
    node.replace_input_with(source, x)
    node.kwargs = {"before": before}


def _pass_by(graph: fx.Graph, node: fx.Node, unit: SparseUnit, modules: dict[str, Any]) -> None:
    """Have the second reader of `unit` get its result from the first, if that is a unit that leaves its own to one."""
    one, other = node.users
    first, second = (next(iter(given.users)) for given in (one, other))
    reads = _engines(first, modules)
    if not isinstance(reads, SparseUnit) or not reads.leaves:
        return
    unit.pass_by(reads)
    first.prepend(other)
    first.kwargs = {**first.kwargs, "other": other}
    with graph.inserting_after(first):
        passed = graph.call_function(operator.getitem, (first, 2))
    second.replace_input_with(other, passed)


def _read_alone(node: fx.Node, modules: dict[str, Any]) -> fx.Node | None:
    """The unit, without a residual, whose result the unit `node` convolves, and nothing else reads."""
    source = node.args[0]
    if not isinstance(source, fx.Node) or not isinstance(_engines(source, modules), SparseUnit):
        return None
    return source if list(source.users) == [node] and len(source.args) == 1 and source not in node.args[1:] else None


def _engines(node: fx.Node, modules: dict[str, Any]) -> SparseConv | SparseNorm | SparseUnit | None:
    """The module of the engine that `node` calls."""
    found = modules.get(str(node.target)) if node.op == "call_module" else None
    return found if isinstance(found, SparseConv | SparseNorm | SparseUnit) else None


def _kernel(node: Any, modules: dict[str, Any]) -> int:
    """Size of the kernel of the sparse convolution that `node` calls; 0 for anything else."""
    called = modules.get(str(node.target)) if isinstance(node, fx.Node) and node.op == "call_module" else None
    return int(called.conv.kernel_size[0]) if isinstance(called, SparseConv) else 0


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_addition(node: fx.Node, part: fx.Node) -> bool:
    """Whether `node` adds `part` and another tensor, and overwrites nothing else."""
    if node.op != "call_function" or node.target not in ADDITIONS or node.kwargs or len(node.args) != 2:
        return False
    one, other = node.args
    if not (isinstance(one, fx.Node) and isinstance(other, fx.Node)) or one is other:
        return False
    return node.target is not operator.iadd or one is part


def _is_relu(node: fx.Node, modules: dict[str, Any]) -> bool:
    if node.op == "call_module":
        return type(modules.get(str(node.target))) is nn.ReLU
    if node.op == "call_function":
        return node.target in RELU_FUNCTIONS
    return node.op == "call_method" and node.target in RELU_METHODS
