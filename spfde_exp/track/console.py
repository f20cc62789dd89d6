"""What a person sees of one run: a progress bar on a terminal, a line per epoch elsewhere."""

import logging
import sys
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

log = logging.getLogger(__name__)


class Progress:
    """Shows the epochs of a run. Use as a context."""

    def __init__(self, signature: str, epochs: int, first: int) -> None:
        """`first` is the epoch that comes next, above 0 after a resume."""
        self.signature, self.epochs = signature, epochs
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = (TextColumn(signature), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn("{task.description}"), console=Console(stderr=True))
            self._task = self._bar.add_task("", total=epochs, completed=first)

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def epoch(self, row: dict[str, Any]) -> None:
        """Show one finished epoch, a row of metrics.jsonl."""
        text = (
            f"loss {row['train_loss']:.3f} train {row['train_acc']:.2f} % test {row['test_acc']:.2f} % "
            f"sparsity {row['sparsity']:.3f} frozen {row['frozen_blocks']} {row['epoch_time_s']:.1f} s"
        )
        if self._bar:
            self._bar.update(self._task, advance=1, description=text)
        else:
            log.info("%s epoch %d/%d %s", self.signature, row["epoch"] + 1, self.epochs, text)
