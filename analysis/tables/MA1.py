"""MEST Table A.1: memory of weights, gradients and indices per sparsity scheme, its formulas evaluated."""

from collections.abc import Sequence

from analysis.layout import Definition, Entry, Fact, Layout
from analysis.names import scheme, sparsity
from analysis.papers import matching
from analysis.protocol import Spec
from analysis.quantities import MEMORY_MB


def arrange(cells: Sequence[Spec]) -> Layout:
    """A row per scheme: the printed formula and what it gives for ResNet-32."""
    rows = []
    for index, cell in enumerate(cells):
        found = matching("MA1", "mest_cifar100", cell.values)
        formula = next((row["value"] for row in found if row["quantity"] == MEMORY_MB.name), "")
        name = "dense" if sparsity(cell) == "dense" else f"{scheme(cell)}, {sparsity(cell)}"
        rows.append((name, (Fact(formula), Entry(index, MEMORY_MB))))
    return Layout(("Scheme", "Memory footprint (printed)", f"ResNet-32: {MEMORY_MB.title}"), tuple(rows))


TABLE = Definition(id="MA1", source="MEST Table A.1", arrange=arrange)
