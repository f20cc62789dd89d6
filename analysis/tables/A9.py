"""SpFDE Table A9: data sieving alone."""

from analysis.layout import Definition, grid

TABLE = Definition(
    id="A9",
    source="SpFDE Table A9",
    arrange=grid("FLOPs reduction", rows="sparsity.target", row_label="sparsity", columns="sieve.ratio"),
)
