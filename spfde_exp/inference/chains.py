"""What becomes of a convolution's channels until other layers read them, each for itself.

A chain is a convolution, what treats its channels one by one (activations, pooling, depthwise convolutions), and the
layers that read the result. Within it channels can be left out without anybody noticing.
"""

import math
import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from spfde_exp.inference.channels import AddChannels, Layer

# Functions of one number each: a constant channel stays one.
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardtanh, nn.Hardsigmoid, nn.Sigmoid,
    nn.Tanh, nn.Identity,
)  # fmt: skip
RELU_FUNCTIONS = {F.relu: F.relu, torch.relu: F.relu, F.relu6: F.relu6}
RELU_METHODS = ("relu", "relu_")
DROPOUT = (nn.Dropout, nn.Dropout2d)
ADDITIONS = (torch.add, operator.add, operator.iadd)
MEANS = ((2, 3), (-2, -1))
SHAPE = "shape of one image"  # among what a node knows: the shape of what it gives


@dataclass(frozen=True)
class Reader:
    """A layer at the end of a chain.

    Attributes:
        name: of its module.
        layer: the module.
        values: [C + 1] what it sees of each channel that is constant, NaN of the others; and last, of a channel that is
            constantly 1 at the chain's beginning.
    """

    name: str
    layer: Layer
    values: Tensor


@dataclass
class Chain:
    """What follows a convolution.

    Attributes:
        depthwise: names and modules of the depthwise convolutions on the way.
        readers: all that reads in the end.
    """

    depthwise: list[tuple[str, nn.Conv2d]] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)


class Network:
    """The layers of a graph module whose nodes know what shapes they give."""

    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        self._calls = Counter(str(node.target) for node in module.graph.nodes if node.op == "call_module")
        self._read = [str(node.target) for node in module.graph.nodes if node.op == "get_attr"]

    def layer(self, node: fx.Node) -> Layer | None:
        """The convolution or linear layer that `node` calls, if it is called here only, on one tensor."""
        found = self._called(node)
        if found is None or type(found) not in (nn.Conv2d, nn.Linear) or not _on_one(node):
            return None
        if self._calls[str(node.target)] > 1 or found._forward_hooks or found._forward_pre_hooks:
            return None
        if any(name.startswith(f"{node.target}.") for name in self._read):  # its weights have another use
            return None
        assert isinstance(found, Layer)
        if isinstance(found, nn.Conv2d) and len(shape(node)) != 4:
            return None
        return found

    def full(self, node: fx.Node) -> nn.Conv2d | None:
        """The convolution that `node` calls, if each filter reads all channels."""
        found = self.layer(node)
        return found if isinstance(found, nn.Conv2d) and found.groups == 1 else None

    def follow(self, node: fx.Node) -> Chain | None:
        """The chain that begins with the convolution of `node`; None where something else sees its channels."""
        conv = self.full(node)
        if conv is None:
            return None
        chain = Chain()
        values = torch.cat([constants(conv, dead(conv)), conv.weight.new_ones(1)])
        return chain if self._follow(node, values, True, chain) and chain.readers else None

    def _follow(self, node: fx.Node, values: Tensor, alone: bool, chain: Chain) -> bool:
        alone = alone and len(node.users) == 1
        for user in node.users:
            layer = self.layer(user)
            if isinstance(layer, nn.Linear):
                if len(shape(node)) != 2:
                    return False
                chain.readers.append(Reader(str(user.target), layer, values))
                continue
            if isinstance(layer, nn.Conv2d):
                if layer.groups == 1:
                    chain.readers.append(Reader(str(user.target), layer, values))
                    continue
                if not layer.groups == layer.in_channels == layer.out_channels:
                    return False
                chain.depthwise.append((str(user.target), layer))
                constant = constants(layer, dead(layer) | (values[:-1] == 0))
                after: Tensor | None = torch.cat([constant, values.new_ones(1)])
            else:
                # What is overwritten must have no other reader, who would see it before or after.
                after = None if in_place(self._called(user), user) and not alone else self._through(user, values)
            if after is None or not self._follow(user, after, alone, chain):
                return False
        return True

    def _through(self, node: fx.Node, values: Tensor) -> Tensor | None:
        """What constants become in `node`; None where it is not known to treat each channel for itself."""
        found = self._called(node)
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or node.all_input_nodes != [source]:
            return None
        if found is not None:
            if type(found) in ELEMENTWISE:
                answer: Tensor = found(values.clone())
                return answer
            same = (
                isinstance(found, DROPOUT) and not found.training
                or isinstance(found, nn.MaxPool2d) and not found.return_indices
                or isinstance(found, nn.AvgPool2d) and not (found.padding or found.ceil_mode or found.divisor_override)
                or isinstance(found, nn.AdaptiveAvgPool2d)
                or isinstance(found, nn.Flatten) and (found.start_dim, found.end_dim) == (1, -1) and _point(source)
            )  # fmt: skip
            return values if same and len(node.args) == 1 else None
        if node.op == "call_function" and node.target in RELU_FUNCTIONS:
            return RELU_FUNCTIONS[node.target](values)
        if node.op == "call_method" and node.target in RELU_METHODS:
            return values.relu()
        if _is(node, "mean", torch.mean) and len(shape(source)) == 4:
            dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
            return values if isinstance(dims, Sequence) and tuple(dims) in MEANS else None
        if _is(node, "flatten", torch.flatten) and node.args[1:] == (1,) and not node.kwargs and _point(source):
            return values
        return None

    def _called(self, node: fx.Node) -> nn.Module | None:
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def fresh(self, node: fx.Node) -> bool:
        """Whether what `node` gives has memory of its own, that nobody else reads later."""
        found = self._called(node)
        if isinstance(found, (nn.Conv2d, nn.MaxPool2d, AddChannels)) or _is(node, "add", *ADDITIONS):
            return True
        relu = node.target in (*RELU_FUNCTIONS, *RELU_METHODS) or isinstance(found, (nn.ReLU, nn.ReLU6))
        if relu and not in_place(found, node):
            return True
        if relu or isinstance(found, nn.Identity):
            source = node.args[0]
            return isinstance(source, fx.Node) and len(source.users) == 1 and self.fresh(source)
        return False


def shape(node: fx.Node) -> tuple[int, ...]:
    """Shape of what `node` gives for one image; empty where that is no tensor."""
    found: tuple[int, ...] = node.meta[SHAPE]
    return found


def in_place(found: nn.Module | None, node: fx.Node) -> bool:
    """Whether `node`, which calls the module `found` or something else, overwrites its input."""
    if node.op == "call_method":
        return str(node.target).endswith("_")
    return bool(getattr(found, "inplace", False) or node.kwargs.get("inplace") or True in node.args[1:])


def constants(conv: nn.Conv2d, dead: Tensor) -> Tensor:
    """[filters] what filters give that are `dead` (bool [filters]): their bias; NaN for the others."""
    bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
    return bias.masked_fill(~dead | ~bias.isfinite(), math.nan)


def dead(conv: nn.Conv2d) -> Tensor:
    """Bool [filters]: which filters have zeros only."""
    return conv.weight.detach().flatten(1).abs().amax(1) == 0


def read(layer: Layer) -> Tensor:
    """Bool [C]: which input channels a layer, not a grouped one, reads."""
    return layer.weight.detach().transpose(0, 1).flatten(1).abs().amax(1) != 0


def _on_one(node: fx.Node) -> bool:
    return len(node.args) == 1 and isinstance(node.args[0], fx.Node) and not node.kwargs


def _point(node: fx.Node) -> bool:
    return len(shape(node)) == 4 and shape(node)[2:] == (1, 1)


def _is(node: fx.Node, method: str, *functions: object) -> bool:
    called = node.op == "call_function" and node.target in functions
    return called or node.op == "call_method" and node.target == method
