"""Structural similarity of a sparse model with the final one (SpFDE section 3.1)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from spfde_exp.rounding import share_of

SIGNIFICANT = 0.5  # share of the kept weights that are looked at (SpFDE section 3.1)


def significant(weight: Tensor, mask: Tensor | None) -> Tensor:
    """Where the larger half of the kept weights lies, bool, flat; at least one. Ties go to the lower index.

    Args:
        mask: which weights are kept; None keeps all.
    """
    score = weight.detach().abs().flatten()
    kept = score.numel()
    if mask is not None:
        score, kept = score.masked_fill(~mask.flatten(), -1.0), int(mask.sum())
    chosen = torch.zeros_like(score, dtype=torch.bool)
    chosen[score.sort(descending=True, stable=True).indices[: max(1, share_of(kept, SIGNIFICANT))]] = True
    return chosen


class FinalStructure:
    """Where the weights of a trained model lie, to compare the model of each epoch with."""

    def __init__(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Take in the final weights of every layer, and the masks of those that have one."""
        self.kept = {
            name: masks[name].flatten() if name in masks else torch.ones(w.numel(), dtype=torch.bool, device=w.device)
            for name, w in weights.items()
        }
        self.significant = {name: significant(w, masks.get(name)) for name, w in weights.items()}

    def compare(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
        """How alike an earlier model is, per layer, each from 0 to 1.

        Returns:
            ``similarity``: share of its most significant weights that the final model keeps, as the paper defines it;
            1 in a layer without a mask. ``common``: share of the final model's most significant weights that are most
            significant now, which tells something of dense layers too.
        """
        now = {name: significant(weights[name], masks.get(name)) for name in self.kept}
        return {
            "similarity": {n: _share(now[n] & self.kept[n], now[n]) for n in now},
            "common": {n: _share(now[n] & self.significant[n], self.significant[n]) for n in now},
        }


def _share(part: Tensor, whole: Tensor) -> float:
    return int(part.sum()) / int(whole.sum())
