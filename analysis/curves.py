"""Pictures of what a run was watched for: `python -m analysis.curves RUN_DIR --out FILE.svg` (docs/hooks.md)."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from analysis.drawing.picture import canvas, encode
from analysis.drawing.style import COLOURS
from spfde_exp.cli import OneLineParser, guarded
from spfde_exp.config import flatten
from spfde_exp.errors import UserError
from spfde_exp.files import write_atomic
from spfde_exp.store import RunFolder

if TYPE_CHECKING:  # an optional dependency
    from matplotlib.axes import Axes

HOOKS = ("similarity", "cka", "gradient_norms", "unforgettable")
WIDTH, HEIGHT = 4.6, 3.6  # of a panel, in inches
STYLE = {"svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}


def load_hook(run: Path | str, hook: str, part: str | None = None) -> pd.DataFrame:
    """What a hook told of a run: one row per epoch, from 1 on, and one column per layer, block or count.

    Args:
        run: the run folder.
        hook: its name, such as ``cka``.
        part: of a row that has several: ``similarity`` or ``common``, ``layers`` or ``blocks``. None takes the first.

    Raises:
        UserError: the run has no such file, or it is empty.
    """
    rows = RunFolder(run).rows(f"hooks/{hook}")
    if not rows:
        raise UserError(f"{run} has no hooks/{hook}.jsonl; train it with hooks.{hook}=true")
    epochs = pd.Index([row.pop("epoch") + 1 for row in rows], name="epoch")
    if part is None:
        part = next((key for key, value in rows[0].items() if isinstance(value, dict)), None)
    return pd.DataFrame([row[part] for row in rows] if part else rows, index=epochs)


def changes(norms: pd.DataFrame) -> pd.DataFrame:
    """Relative change of each column from one epoch to the next, |after - before| / before (SpFDE Figure 3 (b))."""
    return (norms.diff().abs() / norms.shift()).iloc[1:]


def _lines(axes: "Axes", frame: pd.DataFrame, thing: str, title: str, label: str) -> None:
    """A line per column, dark for the first thing, light for the last."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    colours, scale = matplotlib.colormaps["viridis"], Normalize(1, max(2, len(frame.columns)))
    for number, name in enumerate(frame.columns, start=1):
        axes.plot(frame.index, frame[name], color=colours(0.95 * scale(number)), linewidth=1, label=name)
    axes.figure.colorbar(
        ScalarMappable(scale, colours), ax=axes, label=f"{thing}, from the input", ticks=MaxNLocator(integer=True)
    )
    axes.set(title=title, xlabel="epoch", ylabel=label)


def _similarity(axes: "Axes", run: Path) -> None:
    label = "most significant weights\nthat the final model keeps"
    _lines(axes, load_hook(run, "similarity"), "layer", "Structural similarity", label)
    axes.set_ylim(top=1.02)


def _cka(axes: "Axes", run: Path) -> None:
    label = "linear CKA with the final model"
    _lines(axes, load_hook(run, "cka"), "layer", "Representational similarity", label)
    axes.set_ylim(top=1.02)


def _gradient_norms(axes: "Axes", run: Path) -> None:
    frame = changes(load_hook(run, "gradient_norms", "blocks"))
    _lines(axes, frame, "block", "Gradient norms", "relative change from epoch to epoch")
    axes.set_yscale("log")


def _unforgettable(axes: "Axes", run: Path) -> None:
    frame = load_hook(run, "unforgettable")
    axes.plot(frame.index, frame["unforgettable"], color=COLOURS[0], label="unforgettable so far")
    axes.plot(frame.index, frame["newly_forgotten"], color=COLOURS[1], label="forgotten for the first time")
    axes.set(title="Unforgettable examples", xlabel="epoch", ylabel="examples")
    axes.legend(frameon=False)


PANELS: dict[str, Callable[["Axes", Path], None]] = {
    "similarity": _similarity,
    "cka": _cka,
    "gradient_norms": _gradient_norms,
    "unforgettable": _unforgettable,
}


def draw(run: Path, hooks: Sequence[str], kind: str = "svg") -> bytes:
    """A picture with a panel per hook; the same run gives the same bytes.

    Args:
        kind: svg, png or pdf.

    Raises:
        UserError: matplotlib is not installed, the run was not watched so, or `kind` is none of them.
    """
    columns = min(2, len(hooks))
    rows = -(-len(hooks) // columns)
    with canvas(WIDTH * columns, HEIGHT * rows, STYLE) as figure:
        for place, hook in enumerate(hooks, start=1):
            PANELS[hook](figure.add_subplot(rows, columns, place), run)
        figure.suptitle(_title(run), fontsize=9)
        return encode(figure, kind)


def _title(run: Path) -> str:
    raw = RunFolder(run).config()
    if raw is None:
        raise UserError(f"{run} is no run folder: it has no config.yaml that can be read")
    config = flatten(raw)
    told = (config["method.name"], f"sparsity {config['sparsity.target']:g}", f"{config['epochs']} epochs")
    return ", ".join((f"{config['model.name']} on {config['dataset.name']}", *told))


def main() -> None:
    """The command."""
    guarded(run)


def run() -> None:
    """Draw the picture that the command line asks for.

    Raises:
        UserError: as `draw`; or the folder of --out is not there.
    """
    parser = OneLineParser(prog="python -m analysis.curves", description="Draw what a run was watched for.")
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a run folder")
    parser.add_argument("--hooks", nargs="+", choices=HOOKS, help="panels (default: all that the run has)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="an .svg, .png or .pdf")
    arguments: argparse.Namespace = parser.parse_args()
    folder, out = RunFolder(arguments.run), arguments.out
    hooks = arguments.hooks or [hook for hook in HOOKS if folder.rows(f"hooks/{hook}")]
    if not hooks:
        raise UserError(f"{folder.path} was not watched: train it with hooks.cka=true, or another of docs/hooks.md")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: its folder is not there; make it, or choose another one")
    write_atomic(out, draw(folder.path, hooks, out.suffix.removeprefix(".")))


if __name__ == "__main__":
    main()
