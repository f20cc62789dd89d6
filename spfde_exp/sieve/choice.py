"""The sieve that a configuration asks for."""

import torch

from spfde_exp.schema import SieveConfig
from spfde_exp.sieve.plan import SievePlan
from spfde_exp.sieve.sieve import Sieve
from spfde_exp.sieve.two_phase import TwoPhase


def make_sieve(
    sieve: SieveConfig, plan: SievePlan, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Sieve | TwoPhase:
    """The sieve of a resolved configuration; `generator`, on the CPU, draws what is left out from the start."""
    if sieve.mode == "two_phase":
        count = plan.removed if sieve.threshold is None else None
        return TwoPhase(plan.examples, threshold=sieve.threshold, count=count, device=device)
    return Sieve(
        plan.examples,
        sieve.ratio,
        generator,
        update_ratio=sieve.update_ratio,
        never_learned=sieve.never_learned,
        device=device,
    )
