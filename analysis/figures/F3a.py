"""SpFDE Figure 3 (a): which blocks each freezing scheme freezes when, from the plans."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from analysis.drawing import shapes
from analysis.drawing.panel import Figure, Panel, Point, Series
from analysis.names import freezing
from analysis.plans import scheduled

if TYPE_CHECKING:
    from analysis.match import Match


def arrange(found: "Match") -> Sequence[Panel]:
    """A panel per scheme."""
    panels = []
    for cell in found.protocol.cells:
        plan = scheduled(cell)
        points = tuple(Point(epoch, depth) for epoch, depth in enumerate(plan["frozen"]))
        panels.append(
            Panel(
                title=f"{freezing(cell)}: {100 * plan['saved']:.1f} %",
                x="epoch",
                y="block",
                series=(Series("frozen blocks", points, 0),),
                draw=partial(shapes.frozen, blocks=len(plan["blocks"])),
                cells=(1, 1),
                notes=(f"{freezing(cell)}: {plan['freezing']}",),
                size=(3.5, 2.4),
            )
        )
    return panels


FIGURE = Figure(
    id="F3a",
    source="SpFDE Figure 3 (a)",
    arrange=arrange,
    made=(
        "Which leading blocks rest in which epoch, as planned: nothing is trained. Epochs count from 0, as in "
        "plan.json. A percentage is the share of training FLOPs that the plan saves, every epoch counted alike.",
    ),
)
