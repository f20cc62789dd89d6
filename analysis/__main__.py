"""`python -m analysis`: the papers' tables and figures, from run folders."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.figures import figure_ids, find_figure
from analysis.tables import find_table, table_ids
from spfde_exp.cli import OneLineParser, guarded
from spfde_exp.errors import UserError
from spfde_exp.files import write_atomic
from spfde_exp.launch.sweepfile import load_sweep

if TYPE_CHECKING:  # listing loads no pandas
    import pandas as pd

FORMATS = ("markdown", "latex", "csv", "json", "html")


def main() -> None:
    """The command."""
    guarded(lambda: run(sys.argv[1:]))


def run(argv: list[str]) -> None:
    """List the tables and figures, print a table, or write a figure or the report over all of them.

    Raises:
        UserError: an unknown id or option, a folder that is not there, runs that are ambiguous.
    """
    parser = OneLineParser(
        prog="python -m analysis", description="Make a table or a figure of the papers from run folders."
    )
    parser.add_argument("id", nargs="?", default="list", help="of a table or figure, all, or list (default)")
    parser.add_argument("--runs", action="append", metavar="DIR", help="a runs_dir, may be repeated (default: runs)")
    parser.add_argument(
        "--wandb", action="append", default=[], metavar="ENTITY/PROJECT",
        help="the runs of a project on a W&B server, may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--wandb-dir", action="append", default=[], metavar="DIR",
        help="the runs in W&B's own files anywhere below a folder, such as offline-run-..., may be repeated",
    )  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, help="of a table (default: markdown)")
    parser.add_argument(
        "--out", type=Path, metavar="PATH",
        help="file for a table, instead of standard output; folder for a figure's three files, instead of this one; "
        "folder that `all` makes, or replaces",
    )  # fmt: skip
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value",
        help="the protocol to show, as for python -m spfde_exp -m +sweep=TABLE; default: the paper's where a "
        "run has it, else the only one that the runs have",
    )  # fmt: skip
    arguments = parser.parse_intermixed_args(argv)
    if arguments.id == "list":
        for name in table_ids():
            print(f"{name}  {load_sweep(name).title}  ({find_table(name).source})")
        for name in figure_ids():
            print(f"{name}  {load_sweep(name).title}  ({find_figure(name).source})")
    elif arguments.id == "all":
        _write_report(arguments)
    elif arguments.id in figure_ids():
        _write_figure(arguments)
    elif arguments.id in table_ids():
        _print_table(arguments)
    else:
        known = ", ".join([*table_ids(), *figure_ids()])
        raise UserError(f"'{arguments.id}' is no table or figure; allowed: {known}, all, or list")


def _print_table(arguments: argparse.Namespace) -> None:
    definition = find_table(arguments.id)
    if arguments.out and not arguments.out.absolute().parent.is_dir():
        raise UserError(f"--out {arguments.out}: its folder is not there; make it, or choose another one")
    if arguments.out and arguments.out.is_dir():
        raise UserError(f"--out {arguments.out} is a folder; a table is written to a file, such as {arguments.id}.md")

    from analysis.build import fill  # loads pandas
    from analysis.kept import keeping
    from analysis.render import WRITERS

    with keeping():
        frame, runs_dir = _runs(arguments)
        table = fill(definition, frame, arguments.overrides, runs_dir)
    text = WRITERS[arguments.format or "markdown"](table)
    if arguments.format == "csv":  # has no place for remarks
        print(*table.notes, *([f"to train what is missing: {table.command}"] if table.command else []),
              sep="\n", file=sys.stderr)  # fmt: skip
    if arguments.out:
        with _writing(arguments.out):
            write_atomic(arguments.out, text)
    else:
        sys.stdout.write(text)


def _write_figure(arguments: argparse.Namespace) -> None:
    """Picture and numbers into a folder, the caption to standard output."""
    folder = arguments.out or Path()
    if arguments.format:
        raise UserError(f"--format is for tables; {arguments.id} is written as SVG, PNG and CSV")
    if not folder.is_dir():
        raise UserError(f"--out {folder} is no folder; make it, or choose another one")

    from analysis.drawing.drawn import draw, write  # loads pandas
    from analysis.kept import keeping

    with keeping():
        frame, runs_dir = _runs(arguments)
        drawn = draw(find_figure(arguments.id), frame, arguments.overrides, runs_dir)
    with _writing(folder):
        paths = write(drawn, folder)
    sys.stdout.write(drawn.caption)
    print(f"written: {', '.join(map(str, paths))}", file=sys.stderr)


def _write_report(arguments: argparse.Namespace) -> None:
    """Every table and figure as pages in a new folder."""
    if arguments.format:
        raise UserError("--format is for a table; the report has all formats of every table")
    if arguments.out is None:
        raise UserError("all tables and figures need a folder; name a new one with --out DIR")

    from analysis.kept import keeping  # loads pandas
    from analysis.report.folder import check
    from analysis.report.write import write_report

    check(arguments.out)  # before the runs are read, which may take a minute
    with keeping():
        frame, runs_dir = _runs(arguments)
        print(write_report(frame, arguments.out, arguments.overrides, runs_dir))


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"--out {out} cannot be written ({error.strerror}); choose another place") from error


def _runs(arguments: argparse.Namespace) -> "tuple[pd.DataFrame, str]":
    """The runs of all sources that are named, and where the command for missing ones puts them."""
    from analysis.load import load_runs

    elsewhere = arguments.wandb or arguments.wandb_dir
    dirs = arguments.runs or (["runs"] if Path("runs").is_dir() and not elsewhere else [])
    return load_runs(dirs, arguments.wandb, arguments.wandb_dir), dirs[0] if dirs else "runs"


if __name__ == "__main__":
    main()
