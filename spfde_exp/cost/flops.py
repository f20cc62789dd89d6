"""FLOPs of training and inference: 2 per multiply-accumulate, backward = 2 x forward."""

from collections.abc import Mapping, Sequence

from spfde_exp.cost.layers import Layer

PASSES = 3  # one forward, two for the backward pass (gradients of weights and of activations)


def forward_flops(layers: Sequence[Layer], kept: Mapping[str, int]) -> int:
    """FLOPs of one example's forward pass, with `kept` weights in the layers it names and all in the others."""
    return sum(2 * kept.get(layer.name, layer.weights) * layer.positions for layer in layers)


def epoch_flops(layers: Sequence[Layer], kept: Mapping[str, int], frozen: int, examples: int) -> int:
    """Training FLOPs of an epoch over `examples`; the `frozen` leading blocks run forward only."""
    total = 0
    for layer in layers:
        resting = layer.block is not None and layer.block < frozen
        total += (1 if resting else PASSES) * 2 * kept.get(layer.name, layer.weights) * layer.positions
    return total * examples


def dense_training_flops(layers: Sequence[Layer], examples: int, epochs: int) -> int:
    """Training FLOPs of the dense model on the whole set, nothing frozen or sieved."""
    return epoch_flops(layers, {}, 0, examples) * epochs


def paper_training_flops(dense: float, mean_density: float, freeze: float, sieve: float) -> float:
    """The figure that the papers print: dense x mean scheduled density x (1 - freeze) x (1 - sieve).

    Counts every layer, also the stem and the classifier, at the scheduled density, and the freezing target at
    constant density; so come the printed 1.32e15 of the fixed-mask rows at 90 % (SpFDE Table 2).
    """
    return dense * mean_density * (1 - freeze) * (1 - sieve)


def block_shares(layers: Sequence[Layer], blocks: int) -> list[float]:
    """Share of the forward MACs of each block; they sum to 1 less the classifier's."""
    total = sum(layer.macs for layer in layers)
    return [sum(layer.macs for layer in layers if layer.block == index) / total for index in range(blocks)]
