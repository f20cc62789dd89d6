"""The figures by id: every file here defines one, as `FIGURE`."""

import sys

from analysis import registry
from analysis.drawing.panel import Figure
from spfde_exp.launch.sweepfile import sweep_names


def figure_ids() -> list[str]:
    """All ids, in the papers' order: SpFDE's text, its appendix, MEST's text, its appendix."""
    there = registry.names(sys.modules[__name__])
    return [name for name in sweep_names() if name in there]


def find_figure(name: str) -> Figure:
    """The definition of a figure.

    Raises:
        UserError: there is none of that name.
    """
    figure: Figure = registry.find(sys.modules[__name__], "FIGURE", name, figure_ids())
    return figure
