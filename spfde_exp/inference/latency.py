"""How long networks take, side by side."""

import time
from collections.abc import Mapping
from statistics import quantiles

import torch
from torch import nn

WARM_UP, TURNS = 3, 100
SECONDS = 3.0  # for all turns of one batch size; turns are fewer where they take longer
LEAST = 3


@torch.no_grad()
def latencies(networks: Mapping[str, nn.Module], image: tuple[int, int, int], batch: int) -> dict[str, list[float]]:
    """Milliseconds of each network for a batch of images of shape `image` (C, H, W), channels last, turn by turn.

    In each turn every network runs once, so that what disturbs the machine disturbs all; which is first changes.
    """
    x = torch.randn(batch, *image, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)
    for network in networks.values():
        for _ in range(WARM_UP):
            network(x)
    names, answer = list(networks), {name: list[float]() for name in networks}
    end = time.perf_counter() + SECONDS
    for turn in range(TURNS):
        if turn >= LEAST and time.perf_counter() > end:
            break
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            networks[name](x)
            answer[name].append(1000 * (time.perf_counter() - start))
    return answer


def speedup(turns: Mapping[str, list[float]], name: str, over: str) -> list[float]:
    """How many times faster `name` is than `over`: lower quartile, median and upper quartile of the turns' ratios."""
    return quantiles([slow / fast for slow, fast in zip(turns[over], turns[name], strict=True)], n=4)
