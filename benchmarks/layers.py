"""One sparse convolution, forward and both gradients, against PyTorch's dense one and SparseProp's.

python benchmarks/layers.py [--model resnet32] [--sparsity 0.85,0.9,0.95,0.98] [--batch 32] [--turns 9]
                            [--steps 20] [--threads 1]

dense       F.conv2d in channels-last, the weight masked beforehand
sparse      spfde_exp.engine, its input and the gradient of its output in the layout of the engine
SparseProp  SparseConv2d of the package `sparseprop` in the better of its two ways, if it is installed (not an extra of
            this project: it is built on the spot, with `pip install pybind11` before it, and runs on x86 with AVX2)

All are called through autograd on the same numbers and take turns of `--steps` calls each: a core is slower for about
a millisecond after other work with wide vectors, which a training run of one kind does not meet. Freed memory stays in
the process, as it does between the steps of a run. Masks are random.
`ms, least` are of one call in the order above, SparseProp's two ways apart. `off by` is how far the sparse results are
from the dense ones computed in float64, of their largest number. Other processes disturb CPU time less than the wall's.
"""

import argparse
import importlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from _paired import Turns, at_least, print_table, ratio, take_turns
from _workload import keep_memory, machine
from torch import Tensor

from spfde_exp.engine.conv import sparse_conv2d
from spfde_exp.engine.layout import to_layout
from spfde_exp.engine.structure import Structure
from spfde_exp.train.device import exact

Step = Callable[[], tuple[Tensor, ...]]

TARGETS = {0.85: 2.2, 0.9: 3.0, 0.95: 5.0, 0.98: 9.0}  # times the dense speed, for the layers of ResNet-32
OVER_SPARSEPROP = 2.0


class Layer(NamedTuple):
    """Channels, height and width of the input, kernel and stride."""

    inputs: int
    outputs: int
    size: int
    kernel: int = 3
    stride: int = 1

    def __str__(self) -> str:
        stride = f"/{self.stride}" if self.stride > 1 else ""
        return f"{self.kernel}x{self.kernel}{stride} {self.inputs}-{self.outputs} at {self.size}x{self.size}"


LAYERS = {
    "resnet32": (Layer(32, 32, 32), Layer(64, 64, 16), Layer(128, 128, 8)),  # width 2
    "resnet32-strided": (Layer(32, 64, 32, 3, 2), Layer(64, 128, 16, 3, 2)),
    "vgg19": (Layer(64, 64, 32), Layer(128, 128, 16), Layer(256, 256, 8), Layer(512, 512, 4), Layer(512, 512, 2)),
    "resnet50": (
        Layer(64, 256, 56, 1), Layer(256, 64, 56, 1), Layer(512, 128, 28, 1), Layer(256, 1024, 14, 1),
        Layer(2048, 512, 7, 1), Layer(1024, 2048, 14, 1, 2),
    ),
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet32", choices=LAYERS)
    parser.add_argument("--sparsity", default=",".join(map(str, TARGETS)))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=9, help="at least 6")
    parser.add_argument("--steps", type=int, default=20, help="calls in a turn")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    rows: list[tuple[str, ...]] = [
        (
            "layer", "sparsity", "dense / sparse [95 %]", "target", "by CPU time", "SparseProp / sparse", "its target",
            "ms, least", "off by",
        )
    ]  # fmt: skip
    keep_memory()
    with exact(arguments.threads, "fp32"):
        # The dense convolution is that of an ordinary step; the others have no other way.
        torch.use_deterministic_algorithms(False)
        for layer in LAYERS[arguments.model]:
            for sparsity in map(float, arguments.sparsity.split(",")):
                rows.append(measure(layer, sparsity, arguments))
    print_table(f"batch {arguments.batch}, {arguments.threads} thread(s); {machine(torch.device('cpu'))}", rows)


def measure(layer: Layer, sparsity: float, arguments: argparse.Namespace) -> tuple[str, ...]:
    """One line of the table."""
    torch.manual_seed(0)
    out = -(-layer.size // layer.stride)
    weight = torch.randn(layer.outputs, layer.inputs, layer.kernel, layer.kernel)
    kept = torch.rand_like(weight) >= sparsity
    x = torch.randn(arguments.batch, layer.inputs, layer.size, layer.size)
    grad = torch.randn(arguments.batch, layer.outputs, out, out)
    variants = {"dense": dense(layer, x, weight * kept, grad), "sparse": sparse(layer, x, weight, kept, grad)}
    variants |= sparseprop(layer, x, weight * kept, grad)
    off = error(variants["sparse"](), dense(layer, x.double(), (weight * kept).double(), grad.double())(), kept)
    times = take_turns(
        {name: partial(repeat, step, arguments.steps) for name, step in variants.items()}, arguments.turns
    )
    speed = ratio(times.wall, "dense", "sparse")
    target = TARGETS.get(sparsity) if arguments.model == "resnet32" else None
    least = " / ".join(f"{1000 * min(seconds) / arguments.steps:.2f}" for seconds in times.wall.values())
    return (
        str(layer), f"{sparsity:g}", str(speed), at_least(speed.median, target) if target else "none",
        f"{ratio(times.cpu, 'dense', 'sparse').median:.3f}", *beside(times), least, f"{off:.1e}",
    )  # fmt: skip


def repeat(step: Step, times: int) -> None:
    """One turn."""
    for _ in range(times):
        step()


def beside(times: Turns) -> tuple[str, str]:
    """SparseProp's better way against ours, and the verdict."""
    others = [name for name in times.wall if name.startswith("SparseProp")]
    if not others:
        return "not installed", "none"
    worst = min((ratio(times.wall, name, "sparse") for name in others), key=lambda figure: figure.median)
    return str(worst), at_least(worst.median, OVER_SPARSEPROP)


def dense(layer: Layer, x: Tensor, weight: Tensor, grad: Tensor) -> Step:
    """Output and both gradients by PyTorch."""
    x, weight, grad = (t.to(memory_format=torch.channels_last) for t in (x, weight, grad))
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()

    def step() -> tuple[Tensor, ...]:
        y = F.conv2d(x, weight, stride=layer.stride, padding=layer.kernel // 2)
        return y, *torch.autograd.grad(y, (x, weight), grad)

    return step


def sparse(layer: Layer, x: Tensor, weight: Tensor, kept: Tensor, grad: Tensor) -> Step:
    """The same by the engine."""
    structure = Structure(kept)
    x, grad = (to_layout(t, layer.kernel // 2) for t in (x, grad))
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()

    def step() -> tuple[Tensor, ...]:
        y = sparse_conv2d(x, weight, structure, layer.stride)
        return y, *torch.autograd.grad(y, (x, weight), grad)

    return step


def sparseprop(layer: Layer, x: Tensor, masked: Tensor, grad: Tensor) -> dict[str, Step]:
    """Both ways of SparseProp, by its vectors over the batch and over a row; none where it is not installed."""
    try:
        modules = importlib.import_module("sparseprop.modules")
    except ImportError:
        return {}

    def way(over_row: bool) -> Step:
        module = modules.SparseConv2d(masked, None, layer.kernel // 2, layer.stride, over_row)
        leaf = x.clone().requires_grad_()

        def step() -> tuple[Tensor, ...]:
            y = module(leaf)
            return y, *torch.autograd.grad(y, (leaf, module.weight), grad)

        return step

    return {"SparseProp over batch": way(False), "SparseProp over row": way(True)}


def error(results: tuple[Tensor, ...], truth: tuple[Tensor, ...], kept: Tensor) -> float:
    """Largest distance from the truth, of the largest number there."""
    exact_ones = (*truth[:2], truth[2] * kept)
    pairs = zip(results, exact_ones, strict=True)
    return max(((ours - true).abs().max() / true.abs().max()).item() for ours, true in pairs)


if __name__ == "__main__":
    main()
