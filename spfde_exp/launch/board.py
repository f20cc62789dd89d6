"""A table of runs at work that fits the terminal: running first, then what ended last, and counts of the rest."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from spfde_exp.launch.table import duration
from spfde_exp.progress import RunProgress

STYLES = {"running": "cyan", "done": "green", "failed": "red", "stale": "yellow"}
COLUMNS = ("run", "settings", "state", "epoch", "accuracy", "s/epoch", "left")
FRAME = 7  # lines around the rows: counts, head, rules, the sweep's own row, what is not shown, the cursor's


@dataclass(frozen=True)
class Total:
    """A sweep as a whole.

    Attributes:
        states: number of runs in each state.
        runs: number of all runs.
        epoch: finished epochs of all runs, of `epochs`.
        pace_s: seconds between two finished epochs of any run, at present.
        time_left_s: seconds until the last run ends; None where nothing tells.
    """

    states: Mapping[str, int]
    runs: int
    epoch: int
    epochs: int
    pace_s: float | None
    time_left_s: float | None

    def text(self) -> str:
        """Counts of the states, such as ``12 of 40 runs done, 2 running, 26 pending``."""
        rest = [f"{count} {state}" for state, count in self.states.items() if count and state != "done"]
        return ", ".join([f"{self.states.get('done', 0)} of {self.runs} run{'s' * (self.runs != 1)} done", *rest])


def sweep_left(running: Sequence[float | None], waiting: Sequence[float | None], slots: int) -> float | None:
    """Seconds until the last run of a sweep ends.

    Args:
        running: seconds left of each running run; None where unknown, as for its first epoch.
        waiting: seconds that each waiting run will take, in the order in which they start; None where unknown.
        slots: runs at once.

    Returns:
        The end of the last run when each starts at the first free slot; None where any time is unknown.
    """
    if any(seconds is None for seconds in (*running, *waiting)):
        return None
    ends = [seconds or 0.0 for seconds in running]
    ends += [0.0] * (slots - len(ends))
    heapq.heapify(ends)
    for seconds in waiting:
        heapq.heapreplace(ends, ends[0] + (seconds or 0.0))
    return max(ends, default=0.0)


def combined_pace(paces: Sequence[float | None]) -> float | None:
    """Seconds between two finished epochs when runs with these seconds per epoch work side by side."""
    rate = sum(1 / seconds for seconds in paces if seconds)
    return 1 / rate if rate else None


def board(rows: Sequence[tuple[RunProgress, str]], total: Total, height: int) -> Table:
    """The table.

    Args:
        rows: runs and their settings, the most interesting first.
        total: the sweep as a whole, for the last row and the counts of what is not shown.
        height: lines of the terminal; rows that do not fit are left out.
    """
    shown = rows[: max(1, height - FRAME)]
    table = Table(
        title=total.text(), title_justify="left", title_style="bold", caption_justify="left", box=box.SIMPLE_HEAD,
        show_edge=False, expand=True, show_footer=True, collapse_padding=True,
    )  # fmt: skip
    footer = ["all", "", "", *progress_cells(total.epoch, total.epochs, None, total.pace_s, total.time_left_s)]
    for column, foot in zip(COLUMNS, footer, strict=True):
        settings, words = column == "settings", column in ("run", "settings", "state")
        table.add_column(
            column, foot, no_wrap=True, overflow="ellipsis", justify="left" if words else "right",
            ratio=1 if settings else None,
        )  # fmt: skip
    for run, label in shown:
        row = progress_cells(run.epoch, run.epochs, run.test_acc, run.pace_s, run.time_left_s)
        text = f"{run.failure}: {label}" if run.state == "failed" and run.failure else label
        table.add_row(run.signature[:8], Text(text), run.state, *row, style=STYLES.get(run.state))
    if len(shown) < total.runs:
        hidden = total.runs - len(shown)
        table.caption = f"{hidden} runs are not shown" if hidden > 1 else "1 run is not shown"
    return table


def telling(labels: Mapping[str, str]) -> dict[str, str]:
    """`labels` of runs without the words that all of them share, so that what differs fits into a narrow column."""
    words = [set(label.split()) for label in labels.values()]
    shared = set.intersection(*words) if len(words) > 1 else set()
    return {name: " ".join(w for w in label.split() if w not in shared) for name, label in labels.items()}


def progress_cells(
    epoch: int, epochs: int | None, accuracy: float | None, pace_s: float | None, time_left_s: float | None
) -> list[str]:
    """Epoch, accuracy, seconds per epoch and time left for people; empty where unknown."""
    return [
        f"{epoch}/{'?' if epochs is None else epochs}",
        "" if accuracy is None else f"{accuracy:.2f} %",
        "" if pace_s is None else f"{pace_s:.3g}",
        "" if time_left_s is None else duration(time_left_s),
    ]
