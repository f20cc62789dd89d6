"""The slots of this machine, shared between all sweeps of a user that run on it."""

import json
import math
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from spfde_exp.launch.slots import Slot
from spfde_exp.locks import FileLock, is_locked
from spfde_exp.store import write_atomic


def house() -> Path:
    """Folder on this machine, one per user, whose locked files say which slots are in use."""
    path = Path(tempfile.gettempdir()) / f"spfde_exp-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


class SharedSlots:
    """A sweep's slots; another sweep that wants the same parts of the machine gets its share. Use as a context.

    A slot is held by the sweep, from before its run's process starts until after it has ended, and kept busy by
    that process: killed sweeps and killed runs both let go.

    Attributes:
        slots: all that the sweep may use.
        lifeline: file that is locked while the sweep lives.
    """

    def __init__(self, sweep: str, slots: Sequence[Slot]) -> None:
        self.slots = list(slots)
        self._house = house()
        self._life = FileLock(self._house / f"sweep-{sweep}")
        self._want = FileLock(self._house / f"want-{sweep}")
        self._held: dict[Slot, list[FileLock]] = {}

    @property
    def lifeline(self) -> Path:
        return self._life.path

    def __enter__(self) -> "SharedSlots":
        for leftover in [*self._house.glob("sweep-*"), *self._house.glob("want-*")]:  # of sweeps that were killed
            if not is_locked(leftover):
                leftover.unlink(missing_ok=True)
        self._life.take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.want(False)
        for slot in list(self._held):
            self.give_back(slot)
        self.let_go()

    def let_go(self) -> None:
        """End the lifeline: what this sweep started stops."""
        self._life.path.unlink(missing_ok=True)
        self._life.release()

    def want(self, more: bool) -> None:
        """Tell other sweeps whether this one has runs waiting for a slot."""
        if not more:
            self._want.path.unlink(missing_ok=True)
            self._want.release()
        elif not self._want.held:
            write_atomic(self._want.path, json.dumps(sorted(self._names())))
            self._want.take()

    def take(self) -> Slot | None:
        """A free slot, if there is one and this sweep has not its share already."""
        if len(self._held) >= self._share():
            return None
        for slot in self.slots:
            if slot not in self._held and (locks := self._lock(slot)) is not None:
                self._held[slot] = locks
                return slot
        return None

    def give_back(self, slot: Slot) -> None:
        """Somebody else may use it."""
        for lock in self._held.pop(slot):
            lock.release()

    def busy(self, slot: Slot) -> tuple[list[str], str | None]:
        """Files that the process of a run keeps locked: for itself, and together with others on its device."""
        shared = str(self._file("busy", slot.shared)) if slot.shared else None
        return [str(self._file("busy", part)) for part in slot.parts], shared

    def _share(self) -> int:
        rivals = 0
        for path in self._house.glob("want-*"):
            if path != self._want.path and is_locked(path):
                try:
                    names = set(json.loads(path.read_text()))
                except (OSError, ValueError):  # it has just ended
                    continue
                rivals += bool(names & self._names())
        return max(1, math.ceil(len(self.slots) / (1 + rivals)))

    def _names(self) -> set[str]:
        return {name for slot in self.slots for name in (*slot.parts, slot.shared) if name}

    def _lock(self, slot: Slot) -> list[FileLock] | None:
        """Locks on all that a slot takes, or None: of a run whose sweep was killed, its process may still be busy."""
        wanted = [(part, False) for part in slot.parts] + ([(slot.shared, True)] if slot.shared else [])
        held: list[FileLock] = []
        for name, shared in wanted:
            busy, lock = FileLock(self._file("busy", name)), FileLock(self._file("slot", name))
            free = busy.take(shared)
            busy.release()
            if not free or not lock.take(shared):
                for other in held:
                    other.release()
                return None
            held.append(lock)
        return held

    def _file(self, kind: str, name: str) -> Path:
        return self._house / f"{kind}-{re.sub(r'[^A-Za-z0-9-]', '_', name)}"
