"""Which weights of which layers are trained: one object, exact counts, applied in one place."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from spfde_exp.errors import UserError
from spfde_exp.rounding import kept_count
from spfde_exp.sparse.distribution import uniform


class Masks:
    """Boolean masks over the weights of a model's prunable layers.

    After `attach`, an optimiser's step leaves masked weights, their gradients and momentum at zero. Works in any
    PyTorch loop; nothing here knows of configurations.

    Attributes:
        weights: layer name -> its weight parameter.
        kept: layer name -> boolean tensor of the weight's shape, True where the weight is trained.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], sparsity: float) -> None:
        """All-true masks over `weights`; draw them with `init_random` or `init_magnitude`.

        Args:
            weights: layer name -> weight.
            sparsity: the target share of zeros of every layer, which decides whether the layers can hold it.

        Raises:
            UserError: a layer would keep no weight, or miss the target by more than one point.
        """
        self.weights = dict(weights)
        self.kept = {name: torch.ones_like(w, dtype=torch.bool) for name, w in self.weights.items()}
        self._optimizer: torch.optim.Optimizer | None = None
        uniform({name: weight.numel() for name, weight in self.weights.items()}, sparsity)

    # -- counts

    def count(self, layer: str) -> int:
        """Weights of `layer` that are kept."""
        return int(self.kept[layer].sum())

    @property
    def sparsity(self) -> float:
        """Share of zeros over all masked layers together; 0.0 where nothing is masked."""
        total = sum(mask.numel() for mask in self.kept.values())
        return 1 - sum(self.count(name) for name in self.kept) / total if total else 0.0

    # -- changes of structure, exact to the weight

    @torch.no_grad()
    def init_random(self, sparsity: float, generator: torch.Generator) -> None:
        """Draw uniform random masks with exact counts and zero what they exclude. `generator` lives on the CPU."""
        for name, weight in self.weights.items():
            self._keep_top(name, kept_count(weight.numel(), sparsity), _uniform(weight, generator))

    @torch.no_grad()
    def init_magnitude(self, sparsity: float) -> None:
        """Keep the largest fresh weights of each layer (what the released MEST code does)."""
        for name, weight in self.weights.items():
            self._keep_top(name, kept_count(weight.numel(), sparsity), weight.abs())

    @torch.no_grad()
    def prune_to(self, layer: str, sparsity: float, importance: Tensor) -> None:
        """Keep the most important of the kept weights, so that the layer has exactly this share of zeros.

        Ties go to the lower index. Pruned weights and their optimiser state become zero. A layer that is sparser
        already stays as it is.

        Args:
            importance: a score for each weight, shape of the weight; only kept positions count.
        """
        count = kept_count(self.kept[layer].numel(), sparsity)
        if count < self.count(layer):
            self._keep_top(layer, count, importance.masked_fill(~self.kept[layer], -torch.inf))

    @torch.no_grad()
    def grow_to(self, layer: str, sparsity: float, generator: torch.Generator) -> None:
        """Wake uniformly random masked positions, at value and momentum zero, until exactly this share is zero.

        Positions pruned a moment ago may come back. A layer that is denser already stays as it is.
        """
        mask = self.kept[layer]
        count = kept_count(mask.numel(), sparsity)
        if count > self.count(layer):
            self._keep_top(layer, count, _uniform(mask, generator).masked_fill(mask, torch.inf))

    def _keep_top(self, layer: str, count: int, score: Tensor) -> None:
        # A stable sort makes ties, and so whole runs, the same on every device.
        order = score.flatten().sort(descending=True, stable=True).indices
        flat = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
        flat[order[:count]] = True
        self.kept[layer].copy_(flat.view_as(score))
        self.zero_masked([layer])

    # -- keeping masked entries at zero

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Mask gradients before every step of `optimizer`, so that masked weights and momentum stay zero."""
        self._optimizer = optimizer
        optimizer.register_step_pre_hook(lambda *_: self.mask_gradients())

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of masked weights, in place; a frozen layer, without gradient, is left out."""
        pairs = [(w.grad, self.kept[name]) for name, w in self.weights.items() if w.grad is not None]
        if pairs:
            torch._foreach_mul_([grad for grad, _ in pairs], [mask for _, mask in pairs])

    @torch.no_grad()
    def zero_masked(self, layers: Iterable[str] | None = None) -> None:
        """Zero masked weights, and the optimiser's state for them, of `layers` (default: all)."""
        for name in self.kept if layers is None else layers:
            weight, mask = self.weights[name], self.kept[name]
            weight.mul_(mask)
            if weight.grad is not None:
                weight.grad.mul_(mask)
            state = self._optimizer.state.get(weight, {}) if self._optimizer else {}
            for value in state.values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(mask)

    # -- checkpoints

    def state_dict(self) -> dict[str, Tensor]:
        """Layer name -> mask, sharing memory."""
        return dict(self.kept)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over masks saved by `state_dict`.

        Raises:
            UserError: the layers differ.
        """
        if set(state) != set(self.kept):
            raise UserError("the saved masks belong to another model; load them into the model they came from")
        for name, mask in state.items():
            self.kept[name].copy_(mask)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform numbers drawn on the CPU, so that every device sees the same ones."""
    return torch.rand(like.shape, generator=generator).to(like.device)
