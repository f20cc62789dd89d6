"""What plans tell about a cell without training it."""

import json
from typing import TYPE_CHECKING, Any

from analysis.kept import kept
from analysis.protocol import Spec
from spfde_exp.data.specs import SOURCES

if TYPE_CHECKING:
    import pandas as pd

    from spfde_exp.plan import RunPlan


def plan_of(cell: Spec) -> "RunPlan":
    """The plan of a cell's runs."""
    from spfde_exp.config import resolve
    from spfde_exp.plan import make_plan

    return make_plan(resolve(cell.tree))


def planned(cell: Spec) -> "pd.DataFrame":
    """One row: the cell's resolved configuration and its plan's prediction, with the keys of plan.json.

    In addition `t_freeze`, the epoch from which the first block is frozen; None where none is.
    """
    import pandas as pd

    values = cell.values
    if values["model.target"] is None and SOURCES[values["dataset.name"]].spec is not None:
        told = kept("plans").get(json.dumps(cell.identity), lambda: _told(cell))
    else:  # files that are none of ours decide it too
        told = _told(cell)
    return pd.DataFrame([{**values, **told}])


def _told(cell: Spec) -> dict[str, Any]:
    plan = plan_of(cell)
    first = next((epoch for epoch, depth in enumerate(plan.freeze.frozen) if depth), None)
    return {**plan.prediction(), "t_freeze": first}
