"""Remove run folders; without --yes only tell which."""

import argparse
import shutil
from pathlib import Path
from secrets import token_hex

from spfde_exp.errors import UserError
from spfde_exp.progress import GOING, Reader, RunProgress
from spfde_exp.selection import add_filters, counted, filters, none_pass, select
from spfde_exp.store import RunFolder

REMOVED = ".removed"  # folder in runs_dir: what lies in it is no run any more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    add_filters(parser)
    parser.add_argument("--done", action="store_true", help="finished runs too")
    parser.add_argument("--yes", action="store_true", help="remove them; without it nothing is removed")


def run(arguments: argparse.Namespace) -> None:
    """Remove the chosen runs that nobody works at."""
    wanted = filters(arguments)
    if not wanted:
        raise UserError("name the runs to remove, or choose them with --state, --sweep or --where")
    chosen = select(arguments.runs, wanted, Reader())
    if not chosen:
        print(none_pass(arguments.runs))
        return
    kept = [(run, why) for _, run in chosen if (why := _protected(run.state, arguments.done))]
    names = {run.signature for run, _ in kept}
    doomed = [folder for folder, run in chosen if run.signature not in names]
    for run, why in kept:
        print(f"kept {_line(run)}: {why}")
    for folder, run in chosen:
        if folder in doomed and not arguments.yes:
            print(f"would remove {_line(run)}")
    if not arguments.yes:
        print(f"{len(doomed)} of {counted(len(chosen))} would be removed; nothing was, add --yes to do it")
        return
    gone = sum(_remove_told(folder, arguments.done) for folder in doomed)
    _empty(arguments.runs / REMOVED)
    print(f"{counted(gone)} removed, {len(chosen) - gone} kept")
    if wanted.signatures and gone < len(chosen):
        raise UserError(f"not removed: {', '.join(folder.signature for folder, _ in chosen if folder.path.exists())}")


def remove(folder: RunFolder, done: bool) -> None:
    """Remove a run, in one step for whoever looks: half a folder never looks like a run, even after a kill.

    Args:
        done: whether it may be a finished one.

    Raises:
        UserError: it is finished and may not be, or somebody works at it by now.
    """
    status = folder.json("status")
    if why := _protected(folder.state(), done):
        raise UserError(f"run {folder.signature} is kept: {why}")
    with folder.locked():  # nobody begins to train it from here on
        if folder.json("status") != status:
            raise UserError(f"run {folder.signature} is kept: somebody was at it just now")
        grave = folder.path.parent / REMOVED / f"{folder.signature}-{token_hex(4)}"
        grave.parent.mkdir(exist_ok=True)
        folder.path.rename(grave)
    shutil.rmtree(grave, ignore_errors=True)


def _remove_told(folder: RunFolder, done: bool) -> bool:
    try:
        remove(folder, done)
    except UserError as error:
        print(error)
        return False
    print(f"removed {folder.signature}")
    return True


def _protected(state: str, done: bool) -> str | None:
    if state in GOING:
        return f"it is {state}; cancel it first"
    return "it is done; add --done to remove it too" if state == "done" and not done else None


def _empty(removed: Path) -> None:
    """Delete what an earlier removal, killed half-way, has left."""
    shutil.rmtree(removed, ignore_errors=True)


def _line(run: RunProgress) -> str:
    return f"{run.signature}  {run.state}  {run.settings}"
