"""Sparse training: masks with exact counts, where sparsity goes, and one file per method."""
