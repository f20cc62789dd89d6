"""What plans tell about a cell without training it."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from analysis.kept import kept
from analysis.protocol import Spec
from spfde_exp.data.specs import SOURCES
from spfde_exp.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from spfde_exp.plan import RunPlan

REFUSED = "refused"  # in place of an answer; no key of one


def planned(cell: Spec) -> "pd.DataFrame":
    """One row: the cell's resolved configuration and its plan's prediction, with the keys of plan.json.

    In addition `t_freeze`, the epoch from which the first block is frozen; None where none is.

    Raises:
        UserError: it cannot be planned.
    """
    import pandas as pd

    return pd.DataFrame([{**cell.values, **_told("plans", cell, _predicted)}])


def scheduled(cell: Spec) -> dict[str, Any]:
    """What a cell's plan does when, and to what.

    Keys: ``layers``, names of all weight layers in the order of execution; ``masked``, those with a mask; ``blocks``;
    ``frozen``, how many leading blocks rest, per epoch; ``freezing``, the same in words; ``saved``, the share of
    training FLOPs that this saves, flat; ``updates``, epochs at whose start masks change.
    """
    answer: dict[str, Any] = _told("schedules", cell, _schedules)
    return answer


def _told(kind: str, cell: Spec, tell: Callable[["RunPlan"], dict[str, Any]]) -> dict[str, Any]:
    """What `tell` says of the plan of a cell's runs, as it is kept from before if it can be.

    Raises:
        UserError: there is no such plan.
    """

    def make() -> dict[str, Any]:
        from spfde_exp.config import resolve
        from spfde_exp.plan import make_plan

        try:
            return tell(make_plan(resolve(cell.tree)))
        except UserError as error:
            return {REFUSED: str(error)}

    if cell.values["model.target"] is None and SOURCES[cell.values["dataset.name"]].spec is not None:
        answer: dict[str, Any] = kept(kind).get(json.dumps(cell.identity), make)
    else:
        answer = make()  # files that are none of ours decide it too
    if REFUSED in answer:
        raise UserError(answer[REFUSED])
    return answer


def _predicted(plan: "RunPlan") -> dict[str, Any]:
    first = plan.freeze.first
    return {**plan.prediction(), "t_freeze": first if first < plan.epochs else None}


def _schedules(plan: "RunPlan") -> dict[str, Any]:
    return {
        "layers": [layer.name for layer in plan.layers],
        "masked": list(plan.prunable),
        "blocks": list(plan.freeze.blocks),
        "frozen": list(plan.freeze.frozen),
        "freezing": plan.freeze.summary(),
        "saved": plan.freeze.reduction(),
        "updates": sorted(plan.schedule.updates),
    }
