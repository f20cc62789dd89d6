"""The figures by id: every file here defines one, as `FIGURE`."""

from importlib import import_module
from pkgutil import iter_modules

from analysis.drawing.panel import Figure
from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import sweep_names


def figure_ids() -> list[str]:
    """All ids, in the papers' order: SpFDE's text, its appendix, MEST's text, its appendix."""
    there = {module.name for module in iter_modules(__path__)}
    return [name for name in sweep_names() if name in there]


def find_figure(name: str) -> Figure:
    """The definition of a figure.

    Raises:
        UserError: there is none of that name.
    """
    if name not in figure_ids():
        raise UserError(f"figure '{name}' is unknown; allowed: {', '.join(figure_ids())}, or list")
    figure: Figure = import_module(f"{__name__}.{name}").FIGURE
    return figure
