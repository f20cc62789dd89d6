"""What follows from the code and its configuration files alone, kept from one command to the next.

Resolving the cells of all tables, and planning some, takes half a minute whatever runs there are. The answers are in
the user's cache folder, one file for each kind of them; a file counts only while everything that decides them is as
it was (`state_of_code`). One that is damaged is none, and one that cannot be written is not.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import spfde_exp
from spfde_exp.files import cache_folder, read_json, write_atomic
from spfde_exp.options import folder

LIMIT = 8192  # answers in a file: above, only those that were asked for last stay
MAKERS = ("composing.py", "plans.py")  # of this package, what makes the answers
LIBRARIES = ("hydra-core", "omegaconf", "torch", "torchvision")


class Kept:
    """Answers of one kind, which are values that JSON has, by a key. Use the one that `kept` gives."""

    def __init__(self, name: str) -> None:
        self.path = cache_folder() / f"analysis-{name}.json"
        content = read_json(self.path) or {}
        answers = content.get("answers") if content.get("code") == state_of_code() else None
        self._known: dict[str, Any] = answers if isinstance(answers, dict) else {}
        self._used: dict[str, Any] = {}
        self._new = False

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        """The answer to `key`: as it was kept, else what `make` gives, which is remembered."""
        if key in self._known:
            self._used[key] = self._known[key]
            return self._known[key]
        answer = make()
        with suppress(TypeError, ValueError):
            if json.loads(json.dumps(answer, allow_nan=False)) == answer:  # else it would be another one next time
                self._known[key] = self._used[key] = answer
                self._new = True
        return answer

    def save(self) -> None:
        """Keep what was remembered."""
        if not self._new:
            return
        answers = self._known if len(self._known) <= LIMIT else self._used
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, json.dumps({"code": state_of_code(), "answers": answers}, separators=(",", ":")))
            self._new = False


_kept: dict[str, Kept] = {}


def kept(name: str) -> Kept:
    """The answers of a kind."""
    if name not in _kept:
        _kept[name] = Kept(name)
    return _kept[name]


@contextmanager
def keeping() -> Iterator[None]:
    """Keep at the end what was remembered in between."""
    try:
        yield
    finally:
        for answers in _kept.values():
            answers.save()


@cache
def state_of_code() -> str:
    """Hash of all that decides an answer: code, configuration files, the variables that they name, and libraries."""
    digest = hashlib.sha256()
    for root, names in ((Path(str(spfde_exp.__file__)).parent, "*.py"), (folder("conf"), "*.yaml")):
        for path in sorted(root.rglob(names)):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root)} {len(content)} ".encode() + content)
            for variable in re.findall(rb"oc\.env:(\w+)", content):
                digest.update(repr(os.environ.get(variable.decode())).encode())
    for name in MAKERS:
        digest.update(Path(__file__).with_name(name).read_bytes())
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            digest.update(f"{name} {version(name)}".encode())
    return digest.hexdigest()
