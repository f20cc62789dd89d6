"""MEST Figure 2: speed of one convolution per sparsity scheme, measured when the figure is drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.convolution import BATCH, MAP, PATTERNS_FROM, WIDTH, machine, measure
from analysis.drawing import shapes
from analysis.drawing.panel import Figure, Panel, Point, Series

if TYPE_CHECKING:
    from analysis.match import Match


def arrange(found: "Match") -> Sequence[Panel]:
    """A line per scheme."""
    timings = measure()
    series = []
    for place, scheme in enumerate(dict.fromkeys(timing.scheme for timing in timings)):
        points = tuple(
            Point(
                100 * timing.sparsity, timing.ratio.median, n=timing.ratio.turns,
                more={"low": timing.ratio.low, "high": timing.ratio.high},
            )
            for timing in timings if timing.scheme == scheme
        )  # fmt: skip
        series.append(Series(scheme if scheme != "channel" else "channel, made smaller", points, place))
    return [
        Panel(
            title="",
            x="sparsity (%)",
            y="times as fast as dense",
            series=tuple(series),
            draw=shapes.intervals,
            cells=(len(timings), len(timings)),
            notes=(f"measured on this machine just now: {machine()}",),
        )
    ]


FIGURE = Figure(
    id="MF2",
    source="MEST Figure 2",
    arrange=arrange,
    made=(
        "CPU time of the dense layer divided by that of the sparse one, forward and backward, measured in turns: "
        f"median, with bars of its 95 % interval. A 3x3 convolution, {WIDTH} channels in and out, a map of {MAP} x "
        f"{MAP}, batch {BATCH} (the paper tells no batch).",
        "Not to be compared with the paper's numbers, which are a compiler's for a phone. Here masks only simulate "
        "unstructured, block and pattern sparsity: zeros are computed with. Only channel sparsity makes the layer "
        "smaller.",
        f"A pattern keeps four of nine weights, so that it begins at {100 * PATTERNS_FROM:.1f} %.",
    ),
)
