"""The slots of this machine, shared between all sweeps of a user that run on it."""

import json
import math
import os
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from spfde_exp.launch.slots import Slot
from spfde_exp.locks import FileLock, is_locked


@dataclass(frozen=True)
class _Rival:
    """Another sweep with runs waiting.

    Attributes:
        names: the parts of the machine that it may use.
        hungry: parts of the slot that it waits for, while it has none at all.
        since: when it began, or last had a slot, and its name.
    """

    names: frozenset[str]
    hungry: frozenset[str]
    since: tuple[float, str]


class SharedSlots:
    """A sweep's slots; another sweep that wants the same parts of the machine gets its share. Use as a context.

    A slot is held by the sweep, from before its run's process starts until after it has ended, and kept busy by
    that process: killed sweeps and killed runs both let go. Sweeps of the same TMPDIR know of each other.

    Attributes:
        slots: all that the sweep may use.
    """

    def __init__(self, sweep: str, slots: Sequence[Slot]) -> None:
        self.slots = list(slots)
        self._house = Path(tempfile.gettempdir()) / f"spfde_exp-{os.getuid()}"
        self._want = FileLock(self._house / f"want-{sweep}")
        self._since = (time.time(), sweep)
        self._hungry: frozenset[str] = frozenset()
        self._held: dict[Slot, list[FileLock]] = {}

    def __enter__(self) -> "SharedSlots":
        self._house.mkdir(mode=0o700, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.want(False)
        for slot in list(self._held):
            self.give_back(slot)

    def want(self, more: bool) -> None:
        """Tell other sweeps whether this one has runs waiting for a slot."""
        if not more:
            if self._want.held:
                self._want.path.unlink(missing_ok=True)
                self._want.release()
        elif not self._want.held and self._want.take():
            self._tell()

    def take(self) -> Slot | None:
        """A free slot, if there is one, this sweep has not its share already, and no other has waited longer for it."""
        rivals = self._rivals()
        if len(self._held) >= max(1, math.ceil(len(self.slots) / (1 + len(rivals)))):
            return None
        first = [rival.hungry for rival in rivals if self._held or rival.since < self._since]
        for slot in self.slots:
            left = not any(hungry & _parts(slot) for hungry in first)
            if slot not in self._held and left and (locks := self._lock(slot)) is not None:
                self._held[slot] = locks
                self._feel(frozenset())
                return slot
        if not self._held:
            self._feel(_parts(self.slots[0]))
        return None

    def give_back(self, slot: Slot) -> None:
        """Somebody else may use it."""
        for lock in self._held.pop(slot):
            lock.release()
        self._since = (time.time(), self._since[1])
        if self._want.held:
            self._tell()

    def busy(self, slot: Slot) -> tuple[list[str], str | None]:
        """Files that the process of a run keeps locked: for itself, and together with others on its device."""
        shared = str(self._file("busy", slot.shared)) if slot.shared else None
        return [str(self._file("busy", part)) for part in slot.parts], shared

    def _feel(self, hungry: frozenset[str]) -> None:
        if hungry != self._hungry:
            self._hungry = hungry
            if self._want.held:
                self._tell()

    def _tell(self) -> None:
        names = sorted(frozenset().union(*map(_parts, self.slots)))
        self._want.path.write_text(json.dumps({"names": names, "hungry": sorted(self._hungry), "since": self._since}))

    def _rivals(self) -> list[_Rival]:
        mine = frozenset().union(*map(_parts, self.slots))
        rivals = []
        for path in self._house.glob("want-*"):
            if path == self._want.path or not is_locked(path):
                continue  # a file that nobody holds is left from a sweep that was killed
            try:
                told = json.loads(path.read_text())
            except (OSError, ValueError):  # it has just ended, or writes just now
                continue
            rival = _Rival(frozenset(told["names"]), frozenset(told["hungry"]), tuple(told["since"]))
            if rival.names & mine:
                rivals.append(rival)
        return rivals

    def _lock(self, slot: Slot) -> list[FileLock] | None:
        """Locks on all that a slot takes, or None: of a run whose sweep was killed, its process may still be busy."""
        wanted = [(part, False) for part in slot.parts] + ([(slot.shared, True)] if slot.shared else [])
        held: list[FileLock] = []
        for name, shared in wanted:
            lock, busy = FileLock(self._file("slot", name)), FileLock(self._file("busy", name))
            if lock.take(shared, tries=1):
                held.append(lock)
                if busy.take(shared, tries=1):
                    busy.release()
                    continue
            for other in held:
                other.release()
            return None
        return held

    def _file(self, kind: str, name: str) -> Path:
        return self._house / f"{kind}-{re.sub(r'[^A-Za-z0-9-]', '_', name)}"


def _parts(slot: Slot) -> frozenset[str]:
    return frozenset((*slot.parts, slot.shared) if slot.shared else slot.parts)
