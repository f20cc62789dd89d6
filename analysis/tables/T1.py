"""SpFDE Table 1: features of sparse training methods, from what the methods declare about themselves."""

from collections.abc import Callable, Sequence

from analysis.layout import Definition, Fact, Layout
from analysis.protocol import Spec
from spfde_exp.sparse.methods import METHODS, Method

COMPARED = ("snip", "grasp", "rigl", "rigl_itop", "set", "dsr", "mest_ems")  # those that the paper names
FEATURES: dict[str, Callable[[type[Method]], str]] = {
    "mask": lambda method: "dynamic" if method.dynamic else "fixed",
    "held at its peak": lambda method: method.footprint.replace("_", " "),
    "dense gradients in training": lambda method: _yes(method.dense_gradients),
    "schemes": lambda method: ", ".join(method.schemes) or "all",
}
SPFDE = {"layer freezing": "yes", "data sieving": "yes"}


def arrange(cells: Sequence[Spec]) -> Layout:
    """A row per method, and SpFDE, which is MEST+EM&S with freezing and sieving."""
    rows = []
    for label, name, own in (*((METHODS[n].title, n, {}) for n in COMPARED), ("SpFDE", "mest_ems", SPFDE)):
        declared = [Fact(feature(METHODS[name])) for feature in FEATURES.values()]
        rows.append((label, (*declared, *(Fact(own.get(feature, "no")) for feature in SPFDE))))
    return Layout(("Method", *FEATURES, *SPFDE), tuple(rows))


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


TABLE = Definition(id="T1", source="SpFDE Table 1", arrange=arrange)
