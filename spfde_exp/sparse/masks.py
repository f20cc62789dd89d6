"""Which weights of which layers are trained: one object, exact counts, applied in one place."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from spfde_exp.errors import UserError
from spfde_exp.sparse.distribution import TOLERANCE, Distribution
from spfde_exp.sparse.scheme import layouts


class Masks:
    """Boolean masks over the weights of a model's prunable layers.

    After `attach`, an optimiser's step leaves masked weights, their gradients and momentum at zero. Works in any
    PyTorch loop; nothing here knows of configurations.

    Attributes:
        weights: layer name -> its weight parameter.
        kept: layer name -> boolean tensor of the weight's shape, True where the weight is trained.
        distribution: how many units each layer keeps at a sparsity.
        zero_gradients: layers whose next gradients are zero where they are masked anyway.
    """

    zero_gradients: Collection[str] = ()

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        sparsity: float,
        *,
        scheme: str = "unstructured",
        block: Sequence[int] = (4, 1),
        distribution: str = "uniform",
        explicit: Mapping[str, float] | None = None,
        tolerance: float | None = TOLERANCE,
    ) -> None:
        """All-true masks over `weights`; draw them with `init_random` or `init_magnitude`.

        Args:
            weights: layer name -> weight.
            sparsity: the target share of zeros, which decides whether the layers can hold it.
            scheme, block: which weights are zero together, see `spfde_exp.sparse.scheme.layouts`.
            distribution, explicit: what each layer's part is, see `Distribution`.
            tolerance: share of a layer's weights by which whole units may miss its part; None for masks that are
                told what to keep by `replace`.

        Raises:
            UserError: a layer does not divide into units, would keep none, or miss its part by more.
        """
        self.weights = dict(weights)
        self.kept = {name: torch.ones_like(w, dtype=torch.bool) for name, w in self.weights.items()}
        self._optimizer: torch.optim.Optimizer | None = None
        self.layouts = layouts({name: tuple(w.shape) for name, w in self.weights.items()}, scheme, block)
        self.distribution = Distribution(self.layouts, sparsity, distribution, explicit)
        if tolerance is not None:
            self.distribution.check(tolerance)

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
        for name, layout in self.layouts.items():
            units = layout.top(self.uniform(name, generator), self.distribution.units(name, sparsity))
            self.replace(name, layout.fresh(units, generator))

    @torch.no_grad()
    def init_magnitude(self, sparsity: float) -> None:
        """Keep the units with the largest sum of fresh weights, a kernel in its best pattern, as released MEST code."""
        for name, layout in self.layouts.items():
            size = self.weights[name].abs()
            best = layout.best(size)
            units = layout.top(layout.total(size * best), self.distribution.units(name, sparsity))
            self.replace(name, best & layout.spread(units))

    @torch.no_grad()
    def prune_to(self, layer: str, sparsity: float, importance: Tensor) -> None:
        """Keep the most important of the kept units, so that the layer has its part of this share of zeros.

        Ties go to the lower index. Pruned weights and their optimiser state become zero. A layer that is sparser
        already stays as it is.

        Args:
            importance: a score for each weight, shape of the weight; a unit's is the sum of its kept weights'
                (MEST appendix D).
        """
        layout, mask = self.layouts[layer], self.kept[layer]
        alive, count = layout.alive(mask), self.distribution.units(layer, sparsity)
        if count < int(alive.sum()):
            score = layout.total(importance.masked_fill(~mask, 0)).masked_fill(~alive, -torch.inf)
            self.replace(layer, mask & layout.spread(layout.top(score, count)))

    @torch.no_grad()
    def grow_to(self, layer: str, sparsity: float, generator: torch.Generator) -> None:
        """Wake uniformly random empty units, at value and momentum zero, until exactly the part of this share is zero.

        Units pruned a moment ago may come back. A layer that is denser already stays as it is.
        """
        layout, mask = self.layouts[layer], self.kept[layer]
        alive, count = layout.alive(mask), self.distribution.units(layer, sparsity)
        if count > int(alive.sum()):
            chosen = layout.top(self.uniform(layer, generator).masked_fill(alive, torch.inf), count)
            self.replace(layer, mask | layout.fresh(chosen & ~alive, generator))

    @torch.no_grad()
    def replace(self, layer: str, mask: Tensor) -> None:
        """Set the mask of `layer` (boolean, shape of the weight): what leaves becomes zero, what stays stays."""
        self.kept[layer].copy_(mask)
        self.zero_masked([layer])

    def uniform(self, layer: str, generator: torch.Generator) -> Tensor:
        """A uniform number for each unit of `layer`, drawn on the CPU, so that every device sees the same ones."""
        return torch.rand(self.layouts[layer].units, generator=generator).to(self.kept[layer].device)

    # -- keeping masked entries at zero

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Mask gradients before every step of `optimizer`, so that masked weights and momentum stay zero."""
        self._optimizer = optimizer
        optimizer.register_step_pre_hook(lambda *_: self.mask_gradients())

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of masked weights, in place; a frozen layer, without gradient, is left out."""
        others = ((name, w.grad) for name, w in self.weights.items() if name not in self.zero_gradients)
        pairs = [(grad, self.kept[name]) for name, grad in others if grad is not None]
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
