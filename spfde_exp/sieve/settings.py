"""What the keys of `sieve` mean together. Needs no torch."""

from spfde_exp.errors import UserError
from spfde_exp.rounding import round_half_up
from spfde_exp.schema import SieveConfig

PHASE_1 = 70 / 160  # share of the epochs: MEST section 4.3 and its released scripts


def resolve_sieve(sieve: SieveConfig, epochs: int, scale: float, every: int) -> None:
    """Write out, in place, what follows from other keys; what the mode never reads gets one fixed value.

    Args:
        epochs: length of the run.
        scale: it over the length that a given `phase1_epochs` is meant for.
        every: structure-change interval; phase 1 is rounded to it.

    Raises:
        UserError: a removal of two kinds at once, or a first phase that is no shorter than the run.
    """
    sieve.ratio = round(sieve.ratio, 10)
    if sieve.mode == "circular" and sieve.ratio == 0:
        sieve.mode = "none"
    if sieve.mode == "circular":
        sieve.every = every if sieve.every == "auto" else sieve.every
    else:
        sieve.update_ratio, sieve.every, sieve.never_learned = 0.0, "auto", "hardest"
    if sieve.mode == "none":
        sieve.ratio = 0.0
    if sieve.mode == "two_phase":
        _resolve_two_phase(sieve, epochs, scale, every)
    else:
        sieve.phase1_epochs, sieve.threshold, sieve.count = "auto", None, None


def _resolve_two_phase(sieve: SieveConfig, epochs: int, scale: float, every: int) -> None:
    given = {"threshold": sieve.threshold, "count": sieve.count, "ratio": sieve.ratio or None}
    told = [f"sieve.{key}={value}" for key, value in given.items() if value is not None]
    if len(told) > 1:
        raise UserError(f"{' and '.join(told)} say twice what is removed after the first phase; give one of them")
    if not told:
        sieve.threshold = 0  # the unforgettable examples: MEST Figure 5 uses th = 0
    meant = PHASE_1 * epochs if sieve.phase1_epochs == "auto" else sieve.phase1_epochs * scale
    sieve.phase1_epochs = max(1, every * round_half_up(meant / every))
    if sieve.phase1_epochs >= epochs:
        raise UserError(
            f"sieve.phase1_epochs={sieve.phase1_epochs} leaves no second phase in {epochs} epochs; "
            "allowed: fewer, or auto"
        )
