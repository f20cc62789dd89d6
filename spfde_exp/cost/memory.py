"""Training memory by component, in bytes, at 32 bit."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from spfde_exp.cost.layers import Layer
from spfde_exp.sparse.layout import Layout

WORD = 4  # bytes of a 32-bit weight, gradient or activation
INDEX = 2  # bytes of a 16-bit index (MEST appendix B prefers 8 or 16 bit)


@dataclass(frozen=True)
class Memory:
    """What an epoch needs, in bytes.

    Attributes:
        weights: non-zero weights, biases and BN parameters.
        weight_gradients: the same of what is not frozen.
        activations: the output of every weight layer that is not frozen, for the whole batch (kept for backward).
        activation_gradients: one for each of these.
        momentum: one word for each weight that is trained.
        indices: of the masked layers' units, see `Layout.indices`.
    """

    weights: int
    weight_gradients: int
    activations: int
    activation_gradients: int
    momentum: int
    indices: int

    @property
    def figure_4(self) -> int:
        """The four components that SpFDE's Figure 4 counts."""
        return self.weights + self.weight_gradients + self.activations + self.activation_gradients

    def components(self) -> dict[str, int]:
        """Name -> bytes."""
        return asdict(self)


def epoch_memory(
    layers: Sequence[Layer],
    kept: Mapping[str, int],
    frozen: int,
    batch_size: int,
    other_params: Mapping[int | None, int],
    layouts: Mapping[str, Layout],
) -> Memory:
    """Memory of an epoch with `kept` weights in the masked layers and `frozen` leading blocks at rest.

    Args:
        layouts: masked layer -> its units.
        other_params: parameters that are no weights of `layers` (biases, BN), per block index or None.
    """
    weights = active = outputs = indices = 0
    for layer in layers:
        resting = layer.block is not None and layer.block < frozen
        count = kept.get(layer.name, layer.weights)
        weights += count
        if not resting:
            active += count
            outputs += layer.outputs
        if layer.name in kept:
            indices += layouts[layer.name].indices(count)
    weights += sum(other_params.values())
    active += sum(n for block, n in other_params.items() if block is None or block >= frozen)
    activations = outputs * batch_size * WORD
    return Memory(weights * WORD, active * WORD, activations, activations, active * WORD, indices * INDEX)


def mest_memory(
    layers: Sequence[Layer], kept: Mapping[str, int], layouts: Mapping[str, Layout], footprint: str = "sparse"
) -> int:
    """MEST Table A.1, with row indices: weights, their gradients, and the indices of masked layers; in bytes.

    b_w is 32 bit, b_index 16. A layer of n weights that is not masked takes 2 n b_w.

    Args:
        kept: weights kept in each masked layer.
        layouts: masked layer -> its units.
        footprint: `Method.footprint`. The gradients of ``dense_gradients`` take n b_w whatever is masked, and
            ``dense`` takes 2 n b_w for every layer (MEST appendix B).
    """
    total = 0
    for layer in layers:
        if footprint == "dense" or layer.name not in kept:
            total += 2 * layer.weights * WORD
        else:
            count = kept[layer.name]
            gradients = layer.weights if footprint == "dense_gradients" else count
            total += (count + gradients) * WORD + layouts[layer.name].indices(count) * INDEX
    return total
