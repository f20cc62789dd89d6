"""The runs behind the numbers of a table or figure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pandas as pd

from analysis.quantities import ACCURACY, Quantity

COMMIT_SHOWN = 12
NEEDED = (
    "signature", "seed", "state", "test_acc", "device", "device_name", "threads", "commit", "dirty", "finished", "path",
)  # fmt: skip

Run = Mapping[Any, Any]
Value = Callable[[Run], str]


@dataclass
class Group:
    """Runs that are behind the same numbers.

    Attributes:
        id: by which the numbers point to it.
        titles: what they have in common; several where cells became one, as under a recipe for all of them.
        signatures: names of the run folders.
        rows: each one's signature and what is told of it, in the columns of `Behind`; empty where only names are known.
    """

    id: str
    titles: list[str]
    signatures: tuple[str, ...]
    rows: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)


@dataclass
class Behind:
    """All groups of a table or figure.

    Attributes:
        groups: by their signatures.
        columns: what is told of a run besides its signature.
    """

    groups: dict[tuple[str, ...], Group] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    def add(self, signatures: tuple[str, ...], title: str) -> None:
        """Note a number's runs; the same runs behind another number are one group."""
        if not signatures:
            return
        group = self.groups.setdefault(signatures, Group(f"runs{len(self.groups) + 1}", [], signatures))
        if title not in group.titles:
            group.titles.append(title)

    def id_of(self, signatures: tuple[str, ...]) -> str:
        """Id of a group; empty without runs."""
        return self.groups[signatures].id if signatures else ""


class Known:
    """What `load_runs` knows of the runs, by signature."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame[frame["test_acc"].notna()]
        self._places: Mapping[Any, Sequence[int]] = self._frame.groupby("signature", sort=False).indices

    def tell(self, behind: Behind, quantities: Iterable[Quantity]) -> None:
        """Fill in what is known of each run of `behind`, with its own value of those `quantities` that it logged."""
        logged = {q.name: q for q in quantities if q.read is None and q.name in self._frame and q is not ACCURACY}
        columns = {**FIRST, **{q.title: _value_of(q) for q in logged.values()}, **LAST}
        behind.columns = tuple(columns)
        wanted = dict.fromkeys(name for names in behind.groups for name in names)
        places = {name: list(self._places.get(name, ())) for name in wanted}
        part = self._frame.iloc[[place for found in places.values() for place in found]]
        part = part[[*NEEDED, *logged]].astype(object)
        records = iter(part.where(part.notna(), None).to_dict("records"))
        # a signature is unique unless a folder was renamed to it: then both are told
        told = {name: [next(records) for _ in found] for name, found in places.items()}
        for group in behind.groups.values():
            group.rows = [
                (name, tuple(value(run) for value in columns.values()))
                for name in group.signatures
                for run in told[name]
            ]


def _value_of(quantity: Quantity) -> Value:
    def value(run: Run) -> str:
        number = run[quantity.name]
        return "" if number is None else f"{number / quantity.unit:.6g}"

    return value


def _device(run: Run) -> str:
    name, threads = run["device_name"] or run["device"] or "", run["threads"]
    if name != "cpu" or not threads:
        return str(name)
    return f"cpu, {threads:g} thread" + ("s" if threads > 1 else "")


def _commit(run: Run) -> str:
    commit = str(run["commit"] or "")[:COMMIT_SHOWN]
    return f"{commit} and changes" if commit and run["dirty"] else commit


def _finished(run: Run) -> str:
    seconds = run["finished"]
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M}" if seconds else ""


def _parent(path: str, signature: str) -> str:
    """Without the run folder's own name, which is the signature."""
    return path.removesuffix(f"/{signature}")


FIRST: dict[str, Value] = {
    "seed": lambda run: str(run["seed"]),
    "state": lambda run: str(run["state"]),
    "accuracy %": _value_of(ACCURACY),
}
LAST: dict[str, Value] = {
    "device": _device,
    "commit": _commit,
    "finished (UTC)": _finished,
    "lies in": lambda run: _parent(run["path"], run["signature"]),
}
