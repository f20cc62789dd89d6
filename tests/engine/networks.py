"""Small networks with masks, their sparse engines, and what both compute held against each other."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spfde_exp.engine.network import SparseNetwork, sparse_layers
from spfde_exp.models import BlockModel, build
from spfde_exp.sparse.layers import prunable_weights

__all__ = ["apply", "compare", "engine_of", "images", "masks_of", "network_of"]


def masks_of(model: nn.Module, density: float = 0.3) -> dict[str, Tensor]:
    """Random masks, applied to the weights."""
    random = torch.Generator().manual_seed(1)
    weights = prunable_weights(model, "convs_but_first")
    kept = {name: torch.rand(weight.shape, generator=random) < density for name, weight in weights.items()}
    apply(model, kept)
    return kept


@torch.no_grad()
def apply(model: nn.Module, kept: dict[str, Tensor]) -> None:
    for name, mask in kept.items():
        model.get_submodule(name).get_parameter("weight").mul_(mask)


def images(size: int, n: int = 5) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    return torch.randn(n, 3, size, size, dtype=torch.float64, generator=random), torch.arange(n) % 10


def network_of(name: str, width: float, density: float = 0.3) -> tuple[BlockModel, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = build(name, width, 10, 3).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, masks_of(model, density)


def engine_of(model: BlockModel, kept: dict[str, Tensor], frozen: int = 0) -> SparseNetwork:
    network = SparseNetwork(model, kept)
    network.prepare(frozen, sparse_layers(model, kept))
    return network


def compare(plain: BlockModel, kept: dict[str, Tensor], ours: BlockModel, network: SparseNetwork, size: int,
            frozen: int = 0) -> None:  # fmt: skip
    """Logits, gradients (masked), running statistics."""
    sparse = sparse_layers(plain, kept)
    x, y = images(size)
    truth, logits = plain(x, frozen=frozen), network(x)
    torch.testing.assert_close(logits, truth, rtol=1e-8, atol=1e-8)
    for value in (truth, logits):
        F.cross_entropy(value, y).backward()
    for (name, p), q in zip(plain.named_parameters(), ours.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None and q.grad is not None:
            mask = kept.get(layer := name.removesuffix(".weight"), torch.ones(()))
            ours_masked = q.grad if layer in sparse else q.grad * mask  # as the optimiser does
            torch.testing.assert_close(ours_masked, p.grad * mask, rtol=1e-6, atol=1e-9, msg=name)
            assert q.grad.stride() == q.stride(), name
    for (name, one), other in zip(plain.named_buffers(), ours.buffers(), strict=True):
        torch.testing.assert_close(other, one, msg=name)
