"""SpFDE Table A8: layer freezing alone."""

from analysis.layout import Definition, grid

TABLE = Definition(
    id="A8",
    source="SpFDE Table A8",
    arrange=grid("FLOPs reduction", rows="sparsity.target", row_label="sparsity", columns="freeze.target"),
)
