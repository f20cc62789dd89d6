"""What a sweep shows while it works: a table on a terminal, a line per event elsewhere."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live

from spfde_exp.launch.board import Total, board, combined_pace, sweep_left, telling
from spfde_exp.launch.table import duration
from spfde_exp.progress import Reader, RunProgress
from spfde_exp.store import RunFolder

if TYPE_CHECKING:
    from spfde_exp.launch.sweep import Sweep

log = logging.getLogger(__name__)

REFRESH_S = 1.0  # between two looks at the running runs
SUMMARY_S = 60.0  # between two summary lines where there is no terminal


class LiveTable:
    """Shows the runs of a sweep on standard error. Use as a context, and call `update` as often as you like.

    It reads the folders of running runs, once a second, and of runs that ended, once; no others but the few that
    are next, where the table has room for them.
    """

    def __init__(
        self,
        folders: Sequence[RunFolder],
        labels: Mapping[str, str],
        epochs: Mapping[str, int],
        slots: int,
        expected_s: Mapping[str, float] | None = None,
    ) -> None:
        """What the sweep consists of; runs go by their signatures.

        Args:
            folders: every run, also those that are done already.
            labels: settings of each run, in words.
            epochs: number of epochs of each run.
            slots: runs at once.
            expected_s: seconds that a run will take, where known; else this sweep's other runs tell.
        """
        self.folders = {folder.signature: folder for folder in folders}
        self.labels, self.epochs, self.slots, self.expected_s = labels, epochs, slots, expected_s or {}
        self._short = telling(labels)
        self._reader = Reader()
        self._waiting: tuple[str, ...] = ()
        self._running: dict[str, RunProgress] = {}
        self._ended: dict[str, RunProgress] = {}  # in the order in which they ended
        self._before: set[str] | None = None  # what was done when the sweep began
        self._looked, self._summarised = float("-inf"), time.monotonic()
        self._live: Live | None = None
        self._handlers: list[logging.StreamHandler[Any]] = []
        console = Console(stderr=True)
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)

    @classmethod
    def of(cls, sweep: "Sweep", slots: int) -> "LiveTable":
        """The table of a sweep that trains `slots` runs at once."""
        labels = {run.name: run.label for run in sweep.runs}
        epochs = {run.name: run.config.epochs for run in sweep.runs}
        return cls([run.folder for run in sweep.runs], labels, epochs, slots, sweep.expected_s)

    def __enter__(self) -> "LiveTable":
        if self._live:
            plain = sys.stderr
            self._live.start()
            for handler in logging.getLogger().handlers:  # log lines go above the table, not through it
                if isinstance(handler, logging.StreamHandler) and handler.stream is plain:
                    handler.setStream(sys.stderr)
                    self._handlers.append(handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live:
            self._live.stop()
            for handler in self._handlers:
                handler.setStream(sys.stderr)

    def update(self, running: Collection[str], waiting: Collection[str]) -> None:
        """Show how things are.

        Args:
            running: signatures of the runs that are being trained.
            waiting: of those that are not begun, in the order in which they will be. What is in neither has ended.
        """
        going = {*running, *waiting}
        if self._before is None:
            self._before = self.folders.keys() - going
        started = [name for name in running if name not in self._running]
        known = going | self._ended.keys() | self._before
        ended = [name for name in self.folders if name not in known]
        if not started and not ended and time.monotonic() - self._looked < REFRESH_S:
            return
        self._looked, self._waiting = time.monotonic(), tuple(waiting)
        for name in going & self._ended.keys():  # tried again
            del self._ended[name]
        for name in ended:
            self._ended[name] = self._reader.read(self.folders[name])
        # The pool has started them, whether or not their processes have come to say so.
        read = {name: self._reader.read(self.folders[name]) for name in running}
        self._running = {n: run if run.state == "done" else replace(run, state="running") for n, run in read.items()}
        self._show(started, ended)

    def total(self) -> Total:
        """The sweep as a whole."""
        before, running = self._before or set(), list(self._running.values())
        states = Counter(run.state for run in self._ended.values())
        states.update(running=len(running), pending=len(self._waiting), done=len(before))
        done = sum(self.epochs[name] for name in before)
        return Total(
            states=states,
            runs=len(self.folders),
            epoch=done + sum(run.epoch for run in (*running, *self._ended.values())),
            epochs=sum(self.epochs[name] for name in self.folders),
            pace_s=combined_pace([run.pace_s for run in running]),
            time_left_s=sweep_left(
                [self._expected(run.signature) if run.time_left_s is None else run.time_left_s for run in running],
                [self._expected(name) for name in self._waiting],
                self.slots,
            ),
        )

    def _expected(self, name: str) -> float | None:
        if name in self.expected_s:
            return self.expected_s[name]
        paces = [run.pace_s for run in (*self._running.values(), *self._ended.values()) if run.pace_s]
        return median(paces) * self.epochs[name] if paces else None

    def _show(self, started: Sequence[str], ended: Sequence[str]) -> None:
        for name in ended:
            run = self._ended[name]
            if run.state != "done" or not self._live:
                accuracy = "" if run.test_acc is None else f" {run.test_acc:.2f} %"
                outcome = run.trouble or accuracy.strip()
                log.info("[%d left] %s %s: %s %s", self._left(), name, self.labels[name], run.state, outcome)
        if self._live:
            height = self._live.console.size.height
            self._live.update(board(list(self._rows(height)), self.total(), height), refresh=True)
            return
        for name in started:
            log.info("%s %s: started", name, self.labels[name])
        if time.monotonic() - self._summarised >= SUMMARY_S:
            self._summarised = time.monotonic()
            log.info("%s", self._summary())

    def _left(self) -> int:
        return len(self._running) + len(self._waiting)

    def _summary(self) -> str:
        total = self.total()
        left = "unknown" if total.time_left_s is None else duration(total.time_left_s)
        return f"{total.text()}; epoch {total.epoch} of {total.epochs}; time left: {left}"

    def _rows(self, most: int) -> Iterator[tuple[RunProgress, str]]:
        """Running runs, the last failures, what ended last, what comes next: `most` of them."""
        latest = list(reversed(self._ended.values()))
        runs = [*self._running.values(), *sorted(latest, key=lambda run: run.state == "done")][:most]
        for run in runs:
            yield run, self._short[run.signature]
        for name in self._waiting[: most - len(runs)]:
            yield replace(self._reader.read(self.folders[name]), state="pending"), self._short[name]
