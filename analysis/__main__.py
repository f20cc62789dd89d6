"""`python -m analysis`: the papers' tables, filled from run folders."""

import sys
from pathlib import Path

from analysis.tables import find_table, table_ids
from spfde_exp.cli import OneLineParser, guarded
from spfde_exp.errors import UserError
from spfde_exp.files import write_atomic
from spfde_exp.launch.sweepfile import load_sweep

FORMATS = ("markdown", "latex", "csv", "json")


def main() -> None:
    """The command."""
    guarded(lambda: run(sys.argv[1:]))


def run(argv: list[str]) -> None:
    """List the tables, or print one.

    Raises:
        UserError: an unknown table or option, a folder that is not there, runs that are ambiguous.
    """
    parser = OneLineParser(prog="python -m analysis", description="Fill a table of the papers from run folders.")
    parser.add_argument("table", nargs="?", default="list", help="id of a table, or list (default)")
    parser.add_argument("--runs", action="append", metavar="DIR", help="a runs_dir, may be repeated (default: runs)")
    parser.add_argument(
        "--wandb", action="append", default=[], metavar="ENTITY/PROJECT",
        help="the runs of a project on a W&B server, may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--wandb-dir", action="append", default=[], metavar="DIR",
        help="the runs in W&B's own files anywhere below a folder, such as offline-run-..., may be repeated",
    )  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, default="markdown")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of to standard output")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value",
        help="the protocol to show, as for python -m spfde_exp -m +sweep=TABLE; default: the paper's where a "
        "run has it, else the only one that the runs have",
    )  # fmt: skip
    arguments = parser.parse_intermixed_args(argv)
    if arguments.table == "list":
        for name in table_ids():
            print(f"{name}  {load_sweep(name).title}  ({find_table(name).source})")
        return
    definition = find_table(arguments.table)
    if arguments.out and not arguments.out.absolute().parent.is_dir():
        raise UserError(f"--out {arguments.out}: its folder is not there; make it, or choose another one")

    from analysis.build import fill  # loads pandas
    from analysis.kept import keeping
    from analysis.load import load_runs
    from analysis.render import WRITERS

    elsewhere = arguments.wandb or arguments.wandb_dir
    dirs = arguments.runs or (["runs"] if Path("runs").is_dir() and not elsewhere else [])
    with keeping():
        frame = load_runs(dirs, arguments.wandb, arguments.wandb_dir)
        table = fill(definition, frame, arguments.overrides, *dirs[:1])
    text = WRITERS[arguments.format](table)
    if arguments.format == "csv":  # has no place for remarks
        print(*table.notes, *([f"to train what is missing: {table.command}"] if table.command else []),
              sep="\n", file=sys.stderr)  # fmt: skip
    if arguments.out:
        write_atomic(arguments.out, text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
