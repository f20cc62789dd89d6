"""Panels as a picture: SVG for print and screen, PNG for the rest."""

import io
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from analysis.drawing.panel import Panel
from analysis.drawing.style import GREY, RC
from spfde_exp.errors import UserError

if TYPE_CHECKING:  # an optional dependency
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("svg", "png", "pdf")
DPI = 200
ALONE = (4.8, 3.1)  # inches of a panel that stands alone, at least
TITLE_INCHES, COMMAND_INCHES, LETTER_INCHES = 0.07, 0.062, 0.064  # per letter of a title, a command, a legend
LINE_INCHES = 0.175  # height of a line of any


@contextmanager
def canvas(width: float, height: float, settings: Mapping[Any, Any], name: str = "") -> Iterator["Figure"]:
    """An empty figure of `width` x `height` inches, and matplotlib set up for it until it is written.

    Nothing is set globally: no backend is chosen and no window opened.

    Args:
        settings: matplotlib's, besides what makes files the same every time.
        name: of the picture; ids within an SVG depend on it, so that pictures can share a page.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("pictures need matplotlib, which is not installed; pip install 'spfde_exp[figures]'") from error
    with rc_context({**settings, "svg.hashsalt": f"spfde_exp{name}"}):
        yield Figure((width, height), layout="constrained")


def encode(figure: "Figure", kind: str) -> bytes:
    """What a file of `kind` has in it; the same figure gives the same bytes.

    Raises:
        UserError: it is none of KINDS.
    """
    if kind not in KINDS:
        raise UserError(f"a picture cannot be written as {kind!r}; name a file that ends in .svg, .png or .pdf")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def picture(
    name: str,
    heading: tuple[str, str],
    description: str,
    panels: Sequence[Panel],
    columns: int,
    command: str | None,
    kind: str,
) -> bytes:
    """Panels side by side, `columns` in a row, with one legend below all.

    Args:
        name: id of the figure.
        heading: title and a smaller line below it, either may be empty.
        description: for who cannot see it.
        command: said in a picture without any point.
        kind: of KINDS.

    Raises:
        UserError: matplotlib is not installed.
    """
    columns = min(columns, len(panels))
    sizes = [panel.size for panel in panels] if len(panels) > 1 else [tuple(map(max, panels[0].size, ALONE))]
    rows = [sizes[start : start + columns] for start in range(0, len(sizes), columns)]
    width = max(sum(size[0] for size in row) for row in rows)
    height = sum(max(size[1] for size in row) for row in rows)
    with canvas(width, height, RC, name) as figure:
        axes = [figure.add_subplot(len(rows), columns, place) for place in range(1, len(panels) + 1)]
        for place, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
            _panel(axis, panel)
            if place % columns and panel.y == panels[place - 1].y:  # said once in a row, and once in a column
                axis.set_ylabel("")
            if place + columns < len(panels) and panel.x == panels[place + columns].x:
                axis.set_xlabel("")
        lines = [line for part in heading if part for line in textwrap.wrap(part, int(width / TITLE_INCHES))]
        figure.suptitle("\n".join(lines), fontsize=9)
        height += LINE_INCHES * len(lines)
        if command and all(panel.empty for panel in panels):
            plain = command.encode(errors="backslashreplace").decode()  # a folder's name may hold anything
            told = ["To train what is missing:", *textwrap.wrap(plain, int(width / COMMAND_INCHES))]
            figure.supxlabel("\n".join(told), fontsize=7, family="monospace", ha="left", x=0.02, parse_math=False)
            height += LINE_INCHES * len(told)
        height += LINE_INCHES * _legend(figure, axes, width)
        figure.set_size_inches(width, height)
        content = encode(figure, kind)
    return _described(content, name, heading[0], description) if kind == "svg" else content


def _panel(axes: "Axes", panel: Panel) -> None:
    axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    if panel.empty:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no runs yet", transform=axes.transAxes, ha="center", va="center", color="#555555")
    else:
        axes.grid(color=GREY, linewidth=0.5)
        axes.set_axisbelow(True)
        panel.draw(axes, panel)


def _legend(figure: "Figure", axes: Sequence["Axes"], width: float) -> int:
    """One for all panels: a series looks the same in each. How many lines it has."""
    shown: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    if len(shown) < 2:
        return 0
    columns = max(1, min(len(shown), int(width / (0.55 + LETTER_INCHES * max(map(len, shown))))))
    figure.legend(
        list(shown.values()), list(shown), loc="outside lower center", ncols=columns, handlelength=3, columnspacing=1.2
    )
    return -(-len(shown) // columns)


def _described(svg: bytes, name: str, title: str, description: str) -> bytes:
    """The SVG with a title and a description, which screen readers read instead of its parts."""
    text = svg.decode()
    ids = f'role="img" aria-labelledby="{name}-title {name}-desc"'
    head = f'<title id="{name}-title">{escape(title)}</title>\n <desc id="{name}-desc">{escape(description)}</desc>'
    return re.sub(r"<svg ([^>]*)>", lambda found: f"<svg {ids} {found[1]}>\n {head}", text, count=1).encode()
