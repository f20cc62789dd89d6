"""Train runs again from the start; what there is of them stays until the new training begins."""

import argparse

from spfde_exp.errors import UserError
from spfde_exp.progress import GOING, Reader
from spfde_exp.selection import add_filters, filters, none_pass, select
from spfde_exp.verbs.train import OPTIONS_HELP, split, train_again


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument("words", nargs="*", metavar="SIG | OPTION=VALUE", help=f"runs; {OPTIONS_HELP}")
    add_filters(parser, positional=False)


def run(arguments: argparse.Namespace) -> None:
    """Train the chosen runs, whatever their state."""
    signatures, overrides = split(arguments.words)
    wanted, reader = filters(arguments, signatures), Reader()
    if not wanted:
        raise UserError("name the runs to train again, or choose them with --state, --sweep or --where")
    chosen = select(arguments.runs, wanted, reader)
    for _, progress in chosen:
        if progress.state in GOING:
            raise UserError(f"run {progress.signature} is {progress.state}; cancel it first, or wait for it")
    if not chosen:
        raise UserError(none_pass(arguments.runs))
    train_again(chosen, overrides, reader, force=True)
