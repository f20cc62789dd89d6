"""SpFDE Figure 4: training memory, from the plans."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.drawing import shapes
from analysis.drawing.panel import Figure, Panel
from analysis.drawing.points import Item, panels
from analysis.names import sparsity, system
from analysis.quantities import MEMORY_AVG_MB, MEMORY_MIN_MB

if TYPE_CHECKING:
    from analysis.match import Match

FIXED = "DST methods min."


def arrange(found: "Match") -> Sequence[Panel]:
    """Bars per sparsity: a fixed mask, then every SpFDE on average and at the least."""
    items = []
    for index, cell in enumerate(found.protocol.cells):
        if cell.values["method.name"] == "static":
            items.append(Item("", FIXED, sparsity(cell), index, MEMORY_AVG_MB))
        else:
            items.append(Item("", f"{system(cell)} avg.", sparsity(cell), index, MEMORY_AVG_MB))
            items.append(Item("", f"{system(cell)} min.", sparsity(cell), index, MEMORY_MIN_MB))
    (panel,) = panels(found, items, "sparsity", "training memory (MB)", shapes.bars)
    return [replace(panel, notes=(_saved(panel, "avg."), _saved(panel, "min.")), size=(7.0, 3.2))]


def _saved(panel: Panel, which: str) -> str:
    fixed = {point.x: point.y for series in panel.series if series.name == FIXED for point in series.points}
    shares = [
        100 * (1 - point.y / fixed[point.x])
        for series in panel.series if series.name.endswith(which) and series.name != FIXED
        for point in series.points
    ]  # fmt: skip
    return f"SpFDE {which} is {min(shares):.1f} to {max(shares):.1f} % below {FIXED}"


FIGURE = Figure(
    id="F4",
    source="SpFDE Figure 4",
    arrange=arrange,
    made=(
        "Weights, activations and the gradients of both, at 32 bit and the recipe's batch size, as planned: nothing is "
        "trained. Average: over all epochs; minimum: after the last freeze, at the target sparsity.",
        "DST methods: a fixed mask of the target sparsity, the least that any of them needs.",
        "What rests needs no gradients and stores no activations. Bytes depend on no data but on its size.",
        "The paper's text tells neither sparsities nor how much is frozen: those of its Table 2.",
    ),
)
