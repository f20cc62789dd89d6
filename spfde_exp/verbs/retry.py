"""Train what failed, or what nobody works at any more; each goes on from its last checkpoint."""

import argparse

from spfde_exp.errors import UserError
from spfde_exp.failure import CANCELLED
from spfde_exp.progress import Reader
from spfde_exp.selection import add_filters, filters, none_pass, select
from spfde_exp.verbs.train import OPTIONS_HELP, split, train_again

RETRIED = ("failed", "stale")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument(
        "words", nargs="*", metavar="SIG | OPTION=VALUE",
        help=f"runs (default: all failed and stale ones, but those that were cancelled); {OPTIONS_HELP}",
    )  # fmt: skip
    add_filters(parser, positional=False)


def run(arguments: argparse.Namespace) -> None:
    """Train the chosen runs that failed or were left."""
    signatures, overrides = split(arguments.words)
    wanted, reader = filters(arguments, signatures), Reader()
    chosen = select(arguments.runs, wanted, reader)
    if wanted.signatures:
        for _, progress in chosen:
            if progress.state not in RETRIED:
                raise UserError(f"run {progress.signature} is {progress.state}; retry takes failed and stale runs")
    if not wanted.signatures and not wanted.states:
        cancelled = [folder for folder, progress in chosen if progress.failure == CANCELLED]
        if cancelled:
            what = "1 cancelled run is" if len(cancelled) == 1 else f"{len(cancelled)} cancelled runs are"
            print(f"{what} left alone; name runs, or say --state failed, to retry them")
        chosen = [(folder, progress) for folder, progress in chosen if folder not in cancelled]
    some, chosen = bool(chosen), [(folder, run) for folder, run in chosen if run.state in RETRIED]
    if not chosen:
        print(f"no run in {arguments.runs} is to be tried again" if some or not wanted else none_pass(arguments.runs))
        return
    train_again(chosen, overrides, reader, force=False)
