"""SpFDE Figure 3 (b): how gradient norms change from epoch to epoch."""

from typing import TYPE_CHECKING

from analysis.drawing.panel import Figure
from analysis.drawing.watched import MADE, per_layer, spread

if TYPE_CHECKING:
    import pandas as pd


def change(norms: "pd.DataFrame") -> "pd.DataFrame":
    """See `analysis.curves.changes`."""
    from analysis.curves import changes

    return changes(norms)


FIGURE = Figure(
    id="F3b",
    source="SpFDE Figure 3 (b)",
    arrange=per_layer(
        "gradient_norms",
        spread(5),
        "change of the gradient norm\nfrom epoch to epoch (share)",
        part="layers",
        change=change,
    ),
    made=(
        "Norm of a layer's gradient as the optimiser sees it, mean over the steps of an epoch; drawn is its change "
        "since the epoch before, as a share of that one's. The paper names neither norm nor layers: the Euclidean "
        "one; the first layer, the last, and three between.",
        MADE,
    ),
)
