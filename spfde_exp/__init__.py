"""SpFDE experiments: sparse training with layer freezing and data sieving, configured by Hydra.

`Masks`, `FreezePlan`, `Sieve` and `TwoPhase` work in any PyTorch loop; they are imported on first use, so that
``import spfde_exp`` stays free of torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["FreezePlan", "Masks", "Sieve", "TwoPhase", "UserError"]

_HOMES = {
    "Masks": "spfde_exp.sparse.masks",
    "FreezePlan": "spfde_exp.freeze.plan",
    "Sieve": "spfde_exp.sieve.sieve",
    "TwoPhase": "spfde_exp.sieve.two_phase",
    "UserError": "spfde_exp.errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'spfde_exp' has no attribute '{name}'")
