"""MEST Figure 3: unforgettable examples in sparse training."""

from typing import TYPE_CHECKING

from analysis.drawing.panel import Figure
from analysis.drawing.points import SPARSITY, over, titled, together
from analysis.drawing.watched import counted
from analysis.names import system
from analysis.protocol import Spec
from analysis.quantities import UNFORGETTABLE

if TYPE_CHECKING:
    import pandas as pd

SHOWN = (50 / 160, 80 / 160)  # of the epochs


def forgotten(rows: "pd.DataFrame") -> "pd.Series":
    """How many fewer unforgettable examples there are than an epoch before."""
    return -rows["unforgettable"].diff()


def at_90(cell: Spec) -> bool:
    """Which runs (b) shows: those without mutation, and those with it."""
    values = cell.values
    return values["method.name"] in ("dense", "static") or (
        values["method.name"] != "mest" and values["sparsity.target"] == 0.9
    )


FIGURE = Figure(
    id="MF3",
    source="MEST Figure 3",
    arrange=together(
        titled(
            ["(a) after training"],
            over(
                SPARSITY,
                system,
                quantity=UNFORGETTABLE,
                label="unforgettable examples",
                only=lambda cell: cell.values["method.name"].startswith("mest"),
            ),
        ),
        counted(
            forgotten,
            system,
            "increase of forgotten examples",
            title="(b) from epoch to epoch",
            only=at_90,
            window=SHOWN,
            marked=True,
        ),
    ),
    made=(
        "(a) Examples that were right at least once and never wrong after that, on the training pass; mean over "
        "seeds, with bars of one sample standard deviation.",
        "(b) How many fewer these are than an epoch before; dashed lines stand where masks change. Epochs 50 to 80 of"
        " 160, or as much of a run of another length.",
        "Static is a random mask that never changes. The paper tells only 95 % of (a)'s sparsities, and not (b)'s: 90"
        " %.",
    ),
)
