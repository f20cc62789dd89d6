"""Networks without their dead channels: the same function from smaller convolutions.

Channel sparsity leaves input channels that a layer does not read, filter sparsity leaves filters that give a constant.
Within a chain of layers both are cut out. Residual additions couple the channels of a whole stage, where each layer
reads and writes some: such a layer reads its channels out of the sum, and adds its filters into it.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn

from spfde_exp.inference.chains import ADDITIONS, SHAPE, Chain, Network, constants, dead, read, shape
from spfde_exp.inference.channels import AddChannels, Layer, ReadChannels, resized

# What vector units compute together; a convolution of 17 to 31 filters takes longer than one of 32.
FILTERS_AT_ONCE = 16
# Of a layer's channels in a residual sum, the largest share in use at which it pays to take them out, or to add into
# them, on a CPU with channels last (docs/export.md has the figures).
READ_SHARE = 1 / 2
READ_SHARE_1X1 = 1 / 4
WRITE_SHARE = 1 / 2


class _Shapes(fx.Interpreter):
    """Runs a graph, and notes at each node the shape of what it gives."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        n.meta[SHAPE] = tuple(result.shape) if isinstance(result, Tensor) else ()
        return result


@torch.no_grad()
def shrunk(module: fx.GraphModule, image: tuple[int, int, int]) -> fx.GraphModule:
    """The function of `module` from smaller layers; equal up to rounding, also at the borders.

    Convolutions keep their names; new modules are called after them. What is not understood stays as it is, and so
    does whatever reads or writes it.

    Args:
        module: in evaluation mode, as `folded` makes it. It stays as it is, and shares layers that do not change.
        image: (C, H, W), the shape of one.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    answer = fx.GraphModule(module, graph)
    weight = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    _Shapes(answer).run(weight.new_zeros(1, *image))
    network = Network(answer)
    for node in reversed(list(graph.nodes)):  # what a layer's own readers do not need, it need not read
        chain = network.follow(node)
        if chain is not None:
            _cut(answer, str(node.target), chain)
    for node in list(graph.nodes):
        _narrow_write(network, node)
    for node in list(graph.nodes):
        _narrow_read(network, node)
    graph.lint()
    answer.recompile()
    return answer


def _cut(module: fx.GraphModule, name: str, chain: Chain) -> None:
    """Leave out the channels of a chain that begins with the convolution `name`, as far as nobody needs them.

    A constant channel that is read is not needed, as one channel can stand for all of them: it is constantly 1 at the
    beginning, and each reader has a kernel for it that is the sum of what it would read. So padding, which makes
    borders differ, stays the convolution's business.
    """
    conv = module.get_submodule(name)
    assert isinstance(conv, nn.Conv2d)
    needed = torch.zeros(conv.out_channels, dtype=torch.bool, device=conv.weight.device)
    for reader in chain.readers:
        if len(read(reader.layer)) != conv.out_channels or not reader.values[-1] > 0:
            return
        needed |= read(reader.layer) & reader.values[:-1].isnan()
    keep = _filled(needed)
    stand_ins = {reader.name: _stand_in(reader.layer, reader.values, ~keep) for reader in chain.readers}
    extra = any(bool(kernel.any()) for kernel in stand_ins.values())
    if extra:  # it takes a place as well
        keep = _filled(needed, 1)
        stand_ins = {reader.name: _stand_in(reader.layer, reader.values, ~keep) for reader in chain.readers}
    if int(keep.sum()) + extra >= conv.out_channels:
        return
    for called, part in [(name, conv), *chain.depthwise]:
        groups = int(keep.sum()) + extra if part.groups > 1 else 1
        _put(module, called, resized(part, *_filters(part, keep, extra), groups))
    for reader in chain.readers:
        weight = reader.layer.weight[:, keep]
        if extra:
            weight = torch.cat([weight, stand_ins[reader.name]], 1)
        _put(module, reader.name, resized(reader.layer, weight, reader.layer.bias))


def _filled(needed: Tensor, more: int = 0) -> Tensor:
    """`needed` (bool [filters]) with as many others as cost nothing, so that they and `more` fill the vector units."""
    count = int(needed.sum()) + more
    wanted = max(count, 1) if count <= FILTERS_AT_ONCE else -(-count // FILTERS_AT_ONCE) * FILTERS_AT_ONCE
    others = (~needed).nonzero().flatten()[: wanted - count]
    keep = needed.clone()
    keep[others] = True
    return keep


def _stand_in(layer: Layer, values: Tensor, cut: Tensor) -> Tensor:
    """[filters, 1, ...] the kernel that reads in one channel what `layer` reads in constant ones that are `cut`."""
    factor = (values[:-1] / values[-1]).masked_fill(~cut | values[:-1].isnan(), 0.0)
    return torch.tensordot(layer.weight, factor, ([1], [0])).unsqueeze(1)


def _filters(layer: nn.Conv2d, keep: Tensor, extra: bool) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the filters to `keep` (bool), and where there is an `extra` one, of one that gives 1."""
    weight, bias = layer.weight[keep], None if layer.bias is None else layer.bias[keep]
    if not extra:
        return weight, bias
    before = weight.new_zeros(len(weight)) if bias is None else bias
    return torch.cat([weight, weight.new_zeros(1, *weight.shape[1:])]), torch.cat([before, weight.new_ones(1)])


def _narrow_write(network: Network, node: fx.Node) -> None:
    """Where few filters of a convolution write to the sum `node`, add those, in place, and the others' constants."""
    if not (node.op == "call_function" and node.target in ADDITIONS and len(node.args) == 2 and not node.kwargs):
        return
    for written, stream in (node.args, node.args[::-1]):
        if not isinstance(written, fx.Node) or not isinstance(stream, fx.Node) or shape(written) != shape(stream):
            continue
        conv = network.full(written)
        if conv is None or written is stream or len(written.users) > 1 or not _last_use(network, stream, node):
            continue
        values = constants(conv, dead(conv))
        keep = _filled(values.isnan())
        # On a GPU, adding into places is slow where it must be the same every time.
        if keep.sum() > WRITE_SHARE * len(keep) or conv.weight.device.type != "cpu":
            continue
        constant = values.masked_fill(keep, 0.0)
        into = AddChannels(keep.nonzero().flatten(), constant if constant.any() else None)
        name = str(written.target)
        _put(network.module, name, resized(conv, *_filters(conv, keep, False)))
        _put(network.module, f"{name}_into", into)
        with network.module.graph.inserting_before(node):
            added = network.module.graph.call_module(f"{name}_into", (stream, written))
        added.meta = dict(node.meta)
        node.replace_all_uses_with(added)
        network.module.graph.erase_node(node)
        return


def _last_use(network: Network, stream: fx.Node, node: fx.Node) -> bool:
    """Whether `node` may overwrite what `stream` gives: others have read it, and kept no part of it."""
    others = [user for user in stream.users if user is not node]
    return network.fresh(stream) and all(user < node and network.layer(user) is not None for user in others)


def _narrow_read(network: Network, node: fx.Node) -> None:
    """Where a convolution reads few of its channels, give it those only."""
    conv = network.full(node)
    if conv is None:
        return
    used = read(conv)
    pointwise = conv.kernel_size == (1, 1)
    most = READ_SHARE_1X1 if pointwise else READ_SHARE
    # A 1x1 convolution with a stride reads so few places that picking channels from all of them costs more.
    if used.sum() > most * len(used) or (pointwise and conv.stride != (1, 1)):
        return
    used[0] |= not used.any()
    name, source = str(node.target), node.args[0]
    _put(network.module, name, resized(conv, conv.weight[:, used], conv.bias))
    _put(network.module, f"{name}_reads", ReadChannels(used.nonzero().flatten()))
    with network.module.graph.inserting_before(node):
        picked = network.module.graph.call_module(f"{name}_reads", (source,))
    node.args = (picked,)


def _put(module: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, part)
