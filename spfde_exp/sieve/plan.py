"""How many examples are left out when, before any is trained. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from spfde_exp.errors import UserError
from spfde_exp.rounding import share_of
from spfde_exp.schema import SieveConfig
from spfde_exp.sieve.sizes import sieve_sizes


@dataclass(frozen=True)
class SievePlan:
    """Examples of a run, epoch by epoch.

    Attributes:
        examples: size of the training set.
        removed: examples left out from the end of phase 1 on.
        exchanged: removed examples exchanged at each update.
        every: epochs between two exchanges; 0 where there are none.
        phase1: epochs on the whole set, before the only removal; 0 where `removed` are left out from the start.
        known: whether `removed` is certain. A forgetting threshold tells only while training; `removed` is 0 then.
    """

    examples: int
    removed: int = 0
    exchanged: int = 0
    every: int = 0
    phase1: int = 0
    known: bool = True

    def updates(self, epochs: int) -> range:
        """Epochs at whose start the partial training set has just changed."""
        if self.phase1:
            return range(self.phase1, self.phase1 + 1)
        return range(self.every, epochs, self.every) if self.every else range(0)

    def trained(self, epoch: int) -> int:
        """Examples that are trained in an epoch."""
        return self.examples - (self.removed if epoch >= self.phase1 else 0)

    def realised(self, last: int) -> "SievePlan":
        """The plan of a run that trained `last` examples in its last epoch."""
        return self if self.known else replace(self, removed=self.examples - last, known=True)

    def reduction(self, weight: Sequence[float]) -> float:
        """Share of the presentations that is saved, each epoch with its `weight`, such as its density."""
        return self.removed / self.examples * (sum(weight[self.phase1 :]) / sum(weight))


def sieve_plan(sieve: SieveConfig, examples: int) -> SievePlan:
    """The plan of a resolved configuration for a training set of `examples`.

    Raises:
        UserError: no example would be left.
    """
    if sieve.mode == "none":
        return SievePlan(examples)
    if sieve.mode == "circular":
        removed, exchanged = sieve_sizes(examples, sieve.ratio, sieve.update_ratio)
        plan, told = SievePlan(examples, removed, exchanged, int(sieve.every)), f"sieve={sieve.ratio:g}"
    elif sieve.threshold is not None:
        plan, told = SievePlan(examples, phase1=int(sieve.phase1_epochs), known=False), ""
    else:
        removed = share_of(examples, sieve.ratio) if sieve.count is None else sieve.count
        plan = SievePlan(examples, removed, phase1=int(sieve.phase1_epochs))
        told = f"sieve.ratio={sieve.ratio:g}" if sieve.count is None else f"sieve.count={sieve.count}"
    if plan.removed >= examples:
        raise UserError(f"{told} would leave none of {examples} examples; lower it")
    return plan
