"""Masks drawn once, of the weights that score best over all layers together: SNIP, GraSP, SynFlow."""

import logging
from typing import TYPE_CHECKING

from spfde_exp.errors import UserError
from spfde_exp.sparse.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spfde_exp.sparse.saliency import Examples

log = logging.getLogger(__name__)


class Ranked(Method):
    """Keeps the best weights of the network by a score; the layers' densities follow from it."""

    own_densities = True
    ranks_globally = True
    footprint = "dense"  # scores are taken, or levels begin, on the dense network

    def scores(self, model: "nn.Module", examples: "Examples") -> "dict[str, Tensor]":
        """Layer -> score of each of its weights, the shape of the weight; higher is better."""
        raise NotImplementedError

    def draw(self, model: "nn.Module", examples: "Examples") -> None:
        for layer, mask in self.best_masks(self.scores(model, examples)).items():
            self.masks.replace(layer, mask)

    def best_masks(self, scores: "dict[str, Tensor]") -> "dict[str, Tensor]":
        """Masks of as many of the best weights as the target leaves; warns where that empties a layer.

        Raises:
            UserError: the scores tell no weight from another, or one is not finite.
        """
        from spfde_exp.sparse.saliency import best

        self._check(scores)
        masks = best(scores, self.masks.distribution.total(self.plan.target))
        empty = [layer for layer, mask in masks.items() if not bool(mask.any())]
        if empty:
            log.warning("%s leaves no weight in %d layers: %s", self.name, len(empty), ", ".join(empty))
        return masks

    def _check(self, scores: "dict[str, Tensor]") -> None:
        if not all(bool(score.isfinite().all()) for score in scores.values()):
            raise UserError(
                f"method={self.name} gives scores that are not finite, by which nothing can be ranked; choose another "
                "method or model, or look at the data"
            )
        highest, lowest = (max(float(s.max()) for s in scores.values()), min(float(s.min()) for s in scores.values()))
        if highest == lowest:
            raise UserError(
                f"method={self.name} gives every weight the same score, {highest:g}, by which nothing can be ranked; "
                "choose another method or model"
            )


class Snip(Ranked):
    """Weights whose removal would change the loss most, on a few examples."""

    name = "snip"
    title = "SNIP"
    reference = "Lee et al., SNIP, ICLR 2019"
    reads = ("examples",)

    def scores(self, model: "nn.Module", examples: "Examples") -> "dict[str, Tensor]":
        from spfde_exp.sparse.saliency import random_examples, snip

        assert self.config.examples is not None
        batch = random_examples(examples, self.config.examples, self.generator("saliency"))
        return snip(model, list(self.masks.kept), [batch])


class Grasp(Ranked):
    """Weights whose removal would reduce the gradient flow, on `samples` of `per_class` examples a class."""

    name = "grasp"
    title = "GraSP"
    reference = "Wang et al., GraSP, ICLR 2020"
    reads = ("per_class", "samples", "temperature")

    def scores(self, model: "nn.Module", examples: "Examples") -> "dict[str, Tensor]":
        from spfde_exp.sparse.saliency import balanced_examples, grasp

        assert self.config.per_class is not None and self.config.samples is not None
        batches = [
            balanced_examples(examples, self.config.per_class, self.generator("saliency", index))
            for index in range(self.config.samples)
        ]
        return grasp(model, list(self.masks.kept), batches, self.config.temperature)


class Synflow(Ranked):
    """Weights that carry the flow through the network, found in `rounds` without data."""

    name = "synflow"
    title = "SynFlow"
    reference = "Tanaka et al., SynFlow, NeurIPS 2020"
    reads = ("rounds",)

    def scores(self, model: "nn.Module", examples: "Examples") -> "dict[str, Tensor]":
        from spfde_exp.sparse.saliency import synflow

        assert self.config.rounds is not None
        total = sum(layout.weights for layout in self.masks.layouts.values())
        density = self.masks.distribution.total(self.plan.target) / total
        return synflow(model, list(self.masks.kept), examples.shape, density, self.config.rounds)
