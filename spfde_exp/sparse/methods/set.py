"""SET, sparse evolutionary training."""

from collections.abc import Sequence

from spfde_exp.sparse.methods.rewiring import Rewiring, at_random, largest


class Set(Rewiring):
    """At the end of each epoch the smallest positive and the largest negative weights go; as many grow at random.

    Of both signs the share `drop`, as in the authors' code. Positions that went may come back, at zero. A layer that a
    distribution makes dense has nowhere else to grow, and stays.
    """

    name = "set"
    title = "SET"
    reference = "Mocanu et al., SET, Nature Communications 2018"

    def start_epoch(self, epoch: int, layers: Sequence[str]) -> None:
        if not self.due_at_epoch(epoch):
            return
        share = self.fraction(epoch)
        for index, layer in enumerate(self.masks.kept):
            weight, kept = self.masks.weights[layer].detach(), self.masks.kept[layer]
            if layer in layers and not bool(kept.all()):
                positive, negative = kept & (weight >= 0), kept & (weight < 0)
                gone = largest(-weight, positive, int(share * int(positive.sum())))
                gone |= largest(weight, negative, int(share * int(negative.sum())))
                stay = kept & ~gone
                generator = self.generator("structure", epoch, index)
                self.renew(layer, stay, at_random(~stay, int(gone.sum()), generator))
