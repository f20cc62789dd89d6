"""The configuration group `freeze`, resolved: which scheme reads which key, and `auto` as a number."""

from fractions import Fraction
from typing import Any

from spfde_exp.errors import UserError
from spfde_exp.freeze.published import published_t_freeze
from spfde_exp.rounding import round_half_up, to_interval
from spfde_exp.schema import Freeze

RESUMED = 10 / 160  # share of the epochs at whose end everything trains again (SpFDE appendix B names none)
DELAY = 1 / 4  # share of the epochs before delayed periodic freezing begins (appendix B: "certain epochs")

IN_STEP = ("single_shot", "single_shot_resume", "autofreeze")  # with the structure changes: these read `dst.every`

SOLVED = ("single_shot", "single_shot_resume", "periodic", "delayed_periodic", "freezeout")  # for a target

# Keys that only some schemes read -> these schemes, and the value at which the key rests in all others.
READ: dict[str, tuple[tuple[str, ...], Any]] = {
    "target": (SOLVED, 0.0),
    "accounting": (SOLVED, "flat"),
    "t_freeze": (("single_shot", "single_shot_resume", "delayed_periodic", "freezeout"), "auto"),
    "max_fraction": (("single_shot", "single_shot_resume", "periodic", "delayed_periodic"), 1.0),
    "fraction": (("single_shot", "single_shot_resume"), None),
    "resume_epochs": (("single_shot_resume",), "auto"),
    "spacing": (("freezeout",), "cubic"),
    "scale_lr": (("freezeout",), True),
    "intervals": (("autofreeze",), 10),
    "percentile": (("autofreeze",), 50.0),
}
GIVEN = {"max_fraction": 0.867}  # by the files of all schemes; the other keys rest at what is given


def resolve_freeze(freeze: Freeze, model: str, epochs: int, scale: float, every: int) -> None:
    """Write out in `freeze` all that follows from other keys, so that equal runs look equal.

    Args:
        model: its name.
        epochs: length of the run.
        scale: factor from the epochs that the keys are counted in to those of the run.
        every: structure-change interval; 1 where nothing keeps step with it.

    Raises:
        UserError: values that contradict each other.
    """
    freeze.target = round(freeze.target, 10)
    begins = freeze.scheme == "freezeout" and freeze.t_freeze != "auto"  # which takes the place of a target
    if freeze.target == 0 and freeze.scheme != "autofreeze" and not begins:
        freeze.scheme = "none"
    if freeze.scheme == "none":
        freeze.bn = "eval"  # and its keys may be those of the other runs of a sweep
    else:
        _refuse_unread(freeze)
    if freeze.scheme == "none" or freeze.bn == "train" or model == "custom":
        freeze.fold = True  # where there is nothing to fold
    for key, (schemes, rest) in READ.items():
        if freeze.scheme not in schemes:
            setattr(freeze, key, rest)
    if begins:
        freeze.target, freeze.accounting = 0.0, "flat"
    fraction = freeze.fraction = _number(freeze.fraction)
    if freeze.scheme == "single_shot_resume":
        freeze.resume_epochs = _resumed(freeze.resume_epochs, epochs, scale)
    if freeze.t_freeze != "auto":
        freeze.t_freeze = _first(freeze, epochs, scale, every)
    elif freeze.scheme == "delayed_periodic":
        freeze.t_freeze = max(every, to_interval(DELAY * epochs, every))
        if freeze.t_freeze >= epochs:
            raise UserError(
                f"freeze.scheme=delayed_periodic has no epoch to freeze in: of {epochs} epochs, all train in the first "
                f"{freeze.t_freeze}; train longer, lower dst.every, or choose freeze=periodic"
            )
    elif freeze.scheme in ("single_shot", "single_shot_resume") and freeze.accounting == "flat" and fraction is None:
        known = published_t_freeze(model, epochs, every, freeze.target, freeze.max_fraction)
        freeze.t_freeze = known or "auto"
    if fraction is not None or freeze.t_freeze != "auto" and freeze.scheme != "delayed_periodic":
        freeze.max_fraction = 1.0


def _refuse_unread(freeze: Freeze) -> None:
    for key, (schemes, rest) in READ.items():
        value = getattr(freeze, key)
        if freeze.scheme not in schemes and value not in (rest, GIVEN.get(key, rest)):
            *others, last = schemes
            names = f"{', '.join(others)} and {last}" if others else last
            raise UserError(
                f"freeze.{key}={value} is for {names}, and freeze.scheme={freeze.scheme} does not read it; leave it "
                f"out, as freeze={freeze.scheme} alone does, or choose another scheme"
            )


def _resumed(given: Any, epochs: int, scale: float) -> int:
    number = max(1, round_half_up(RESUMED * epochs if given == "auto" else given * scale))
    if number >= epochs - 1:
        raise UserError(
            f"freeze.resume_epochs={number} leaves no epoch to freeze in, of {epochs}; allowed: fewer, or auto"
        )
    return number


def _first(freeze: Freeze, epochs: int, scale: float, every: int) -> int:
    if freeze.fraction is not None:
        raise UserError(
            f"freeze.fraction={freeze.fraction:g} solves for the first epoch, and freeze.t_freeze={freeze.t_freeze} "
            "gives it; give one of the two"
        )
    interval = 1 if freeze.scheme == "freezeout" else every  # which knows no structure changes
    first = max(interval, to_interval(freeze.t_freeze * scale, interval))
    if first >= epochs:
        raise UserError(
            f"freeze.t_freeze={first} is not before the last of {epochs} epochs; allowed: an earlier epoch, or auto"
        )
    return first


def _number(fraction: Any) -> float | None:
    """A share given as a number or as text such as ``2/3``."""
    return None if fraction is None else round(float(Fraction(str(fraction))), 10)
