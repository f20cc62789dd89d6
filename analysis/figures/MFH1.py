"""MEST Figure H.1: Figure 5 on CIFAR-10."""

from analysis.drawing.panel import Arrange, Figure
from analysis.drawing.points import MADE, SPARSITY, over, titled, together
from analysis.drawing.tradeoff import MADE as MADE_OF_CIRCLES
from analysis.drawing.tradeoff import tradeoff
from analysis.names import scheme_or_system
from analysis.protocol import Spec

REFERENCES = ("deepr", "set", "dsr")  # keep weights and gradients sparse
COMPARED = ("dense", "snip", "grasp", "set", "dsr", "mest_em", "mest_ems")


def with_references(method: str, title: str) -> Arrange:
    """Accuracy over sparsity of one of MEST's methods, beside the references."""

    def shown(cell: Spec) -> bool:
        return cell.values["method.name"] in (method, *REFERENCES) and cell.values["sieve.mode"] == "none"

    return titled([title], over(SPARSITY, scheme_or_system, only=shown))


def at_90(cell: Spec) -> bool:
    """What (c) compares."""
    values = cell.values
    return (
        values["method.name"] in COMPARED
        and (values["method.name"] == "dense" or values["sparsity.target"] == 0.9)
        and values["sparsity.scheme"] != "channel"
    )


FIGURE = Figure(
    id="MFH1",
    source="MEST Figure H.1",
    arrange=together(
        with_references("mest_em", "(a) MEST+EM"),
        with_references("mest_ems", "(b) MEST+EM&S"),
        tradeoff(at_90, "(c) "),
    ),
    made=(MADE, f"(c) {MADE_OF_CIRCLES}"),
)
