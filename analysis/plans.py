"""What plans tell about a cell without training it."""

import pandas as pd

from analysis.protocol import Spec


def planned(cell: Spec) -> pd.DataFrame:
    """One row: the cell's resolved configuration and its plan's prediction, with the keys of plan.json.

    In addition `t_freeze`, the epoch from which the first block is frozen; None where none is.
    """
    from spfde_exp.config import resolve
    from spfde_exp.plan import make_plan

    plan = make_plan(resolve(cell.tree))
    first = next((epoch for epoch, depth in enumerate(plan.freeze.frozen) if depth), None)
    return pd.DataFrame([{**cell.values, **plan.prediction(), "t_freeze": first}])
