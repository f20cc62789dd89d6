"""How series look: told apart by colour, by marker and by line, so that one of them suffices."""

from typing import Any

# Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow that is faint on paper.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
YELLOW, BLUE, GREY, INK = "#f0e442", "#0072b2", "#dddddd", "#1a1a1a"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "h", ">")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)))
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "----")

# Sizes are those of print at the full width of a page.
RC: dict[Any, Any] = {
    "svg.fonttype": "none", "font.size": 8.5, "axes.labelsize": 8.5, "axes.titlesize": 8.5, "legend.fontsize": 8,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.8, "lines.linewidth": 1.4, "lines.markersize": 4.5, "hatch.linewidth": 0.6,
    "axes.grid": False, "legend.frameon": False, "axes.formatter.useoffset": False,
}  # fmt: skip


def line(place: int) -> dict[str, Any]:
    """Colour, marker and dashes of series number `place`; no two of the first ten share a marker."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": DASHES[place % len(DASHES)],
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def bar(place: int) -> dict[str, Any]:
    """Colour and hatching of bars number `place`."""
    return {"color": COLOURS[place % len(COLOURS)], "hatch": HATCHES[place % len(HATCHES)], "edgecolor": "white"}
