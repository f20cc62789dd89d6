"""What a sparsity scheme does to the seconds of one convolution, measured here (MEST Figure 2)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from analysis.paired import Ratio, ratio, take_turns
from spfde_exp.machine import cpu_name

WIDTH, MAP, BATCH = 64, 16, 64  # channels in and out, and side of the map: MEST Figure 2; MEST's batch (Table G.1)
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
PATTERNS_FROM = 5 / 9  # four of nine weights stay (MEST appendix A)
TURNS = 8


class Timing(NamedTuple):
    """How many times as fast as dense a layer is, forward and backward.

    Attributes:
        scheme: of `spfde_exp.sparse.scheme`.
        sparsity: share of zeros.
        ratio: seconds of the dense layer divided by those of the sparse one.
    """

    scheme: str
    sparsity: float
    ratio: Ratio


def measure(sparsities: Sequence[float] = SPARSITIES, turns: int = TURNS) -> list[Timing]:
    """Time a 3x3 convolution with each scheme and sparsity against the dense one, all in turn, in CPU time.

    Masked weights are zeros that are computed with: masks only simulate. The channels of channel sparsity are left
    out for real, as its memory formula supposes (MEST appendix B).

    Args:
        turns: of each, at least 6.
    """
    schemes = {"unstructured": 0.0, "block": 0.0, "pattern": PATTERNS_FROM, "channel": 0.0}
    variants: dict[str, Callable[[], None]] = {"dense": _step(None, 0.0)}
    for scheme, least in schemes.items():
        for sparsity in sparsities:
            if sparsity >= least:
                variants[f"{scheme} {sparsity}"] = _step(scheme, sparsity)
    times = take_turns(variants, turns, warmup=1).cpu
    answer = []
    for name in list(variants)[1:]:
        scheme, share = name.split()
        answer.append(Timing(scheme, float(share), ratio(times, "dense", name)))
    return answer


def machine() -> str:
    """What it was measured on, in words."""
    import torch

    threads = torch.get_num_threads()
    return f"{cpu_name()}, {threads} thread{'s' * (threads > 1)}, PyTorch {torch.__version__}"


def _step(scheme: str | None, sparsity: float) -> Callable[[], None]:
    """Forward and backward pass of the layer, to weights and input, and the masking of gradients."""
    import torch
    from torch import nn

    from spfde_exp.sparse.masks import Masks

    generator = torch.Generator().manual_seed(0)
    layer, channels, masks = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), WIDTH, None
    if scheme:
        masks = Masks({"conv": layer.get_parameter("weight")}, sparsity, scheme=scheme, tolerance=None)
        masks.init_random(sparsity, generator)
        if scheme == "channel":
            channels = int(masks.kept["conv"].any(dim=0).flatten(1).any(dim=1).sum())
            layer, masks = nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False), None
    images = torch.randn(BATCH, channels, MAP, MAP, generator=generator).requires_grad_()
    gradient = torch.ones(BATCH, WIDTH, MAP, MAP)

    def step() -> None:
        images.grad = layer.weight.grad = None
        layer(images).backward(gradient)
        if masks:
            masks.mask_gradients()

    return step
