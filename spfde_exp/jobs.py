"""What a sweep is asked for, in the words of the user. Needs neither Hydra nor torch."""

from collections.abc import Sequence
from dataclasses import dataclass

# what does not tell one run of a sweep from another
SILENT = ("+sweep=", "runs_dir=", "logger", "hydra", "dry_run=", "force=", "device=", "threads=")


@dataclass(frozen=True)
class Unavailable:
    """A job of a sweep file that this version cannot run.

    Attributes:
        missing: what it lacks, such as ``method=snip``.
    """

    missing: tuple[str, ...]


def settings(overrides: Sequence[str]) -> list[str]:
    """The overrides that tell a run from others."""
    return [text for text in overrides if not text.startswith(SILENT)]


def sweep_files(overrides: Sequence[str]) -> list[str]:
    """Ids of the sweep files that a job, as `spfde_exp.launch.sweepfile.expand` makes it, belongs to."""
    return [name for text in overrides if text.startswith("+sweep=") for name in text[7:].strip("[]").split(",")]
