"""How a run's process is stopped: by a signal, by `runs cancel`, or because the sweep that started it is gone."""

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType

from spfde_exp.failure import BY_CANCEL, CANCELLED, Stopped
from spfde_exp.locks import is_locked
from spfde_exp.store import CANCEL, RunFolder

STOPPING = (signal.SIGINT, signal.SIGTERM)
WATCH_S = 0.5  # between two looks for a reason to stop
AGAIN_S = 5.0  # signals that come sooner after the first find the run putting its things in order
GRACE_S = 20.0  # a process that is asked to stop and does not is ended


class StopWatch:
    """Turns every reason to stop into one `Stopped` in the main thread.

    SIGINT and SIGTERM stop the run; so do a cancel file in the run folder, and a lifeline that nobody holds any
    more: a file that the sweep keeps locked while it lives. Use as a context, in the main thread.
    """

    def __init__(self, folder: RunFolder, lifeline: Path | None = None) -> None:
        self.folder, self.lifeline = folder, lifeline
        self._when = float("-inf")
        self._over = threading.Event()

    def __enter__(self) -> "StopWatch":
        self._before = {number: signal.signal(number, self._on_signal) for number in STOPPING}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()  # what comes now is too late to stop the run
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        again = time.monotonic() - self._when > AGAIN_S  # the first was lost in code that passes over exceptions
        if again and not self._over.is_set():
            self._when = time.monotonic()
            name = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
            raise Stopped(*(self._asked() or (name, None)))

    def _asked(self) -> tuple[str, str | None] | None:
        """Why the run is to stop, in words and with its class; None where nobody asks for it."""
        if self.folder.file(CANCEL).exists():
            return BY_CANCEL, CANCELLED
        if self.lifeline is not None and not is_locked(self.lifeline):
            return "stopped, as its sweep is gone", None
        return None

    def _watch(self) -> None:
        while not self._over.wait(WATCH_S):
            if self._asked() is not None:
                os.kill(os.getpid(), signal.SIGTERM)  # handled in the main thread
                if not self._over.wait(GRACE_S):
                    os._exit(128 + signal.SIGTERM)
                return
