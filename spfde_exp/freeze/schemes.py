"""Every freezing scheme by the name that `freeze.scheme=` takes, and the plan that it makes of a run."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from spfde_exp.freeze.freezeout import freezeout
from spfde_exp.freeze.periodic import periodic
from spfde_exp.freeze.plan import FreezePlan
from spfde_exp.freeze.solver import FreezeProblem, fraction_of_blocks, single_shot
from spfde_exp.schema import Freeze

# Runs of a sweep share their problems.
_single_shot, _fraction, _periodic, _freezeout = (
    lru_cache(maxsize=1024)(solve) for solve in (single_shot, fraction_of_blocks, periodic, freezeout)
)


def freeze_plan(problem: FreezeProblem, freeze: Freeze) -> FreezePlan:
    """The plan of a resolved configuration.

    Raises:
        UserError: the target is out of reach.
    """
    return SCHEMES[freeze.scheme](problem, freeze)


def _first(freeze: Freeze) -> int | None:
    return None if freeze.t_freeze == "auto" else int(freeze.t_freeze)


def _none(problem: FreezeProblem, freeze: Freeze) -> FreezePlan:
    return FreezePlan.none(problem.epochs, problem.blocks, problem.shares)


def _in_sequence(problem: FreezeProblem, freeze: Freeze) -> FreezePlan:
    if freeze.fraction is not None:
        return _fraction(problem, freeze.target, freeze.fraction)
    return _single_shot(problem, freeze.target, _first(freeze), freeze.max_fraction)


def _in_turns(problem: FreezeProblem, freeze: Freeze) -> FreezePlan:
    return _periodic(problem, freeze.target, freeze.max_fraction, _first(freeze) or 0)


def _freeze_out(problem: FreezeProblem, freeze: Freeze) -> FreezePlan:
    return _freezeout(problem, freeze.target, _first(freeze), freeze.spacing, freeze.scale_lr)


def _at_run_time(problem: FreezeProblem, freeze: Freeze) -> FreezePlan:
    """Nothing is frozen until training decides so; learning rates cannot know when that will be."""
    return replace(_none(problem, freeze), own_clock=False, known=False)


SCHEMES: dict[str, Callable[[FreezeProblem, Freeze], FreezePlan]] = {
    "none": _none,
    "single_shot": _in_sequence,
    "single_shot_resume": _in_sequence,
    "periodic": _in_turns,
    "delayed_periodic": _in_turns,
    "freezeout": _freeze_out,
    "autofreeze": _at_run_time,
}
