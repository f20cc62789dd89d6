"""Sparse training on CPUs: kernels whose work is that of the non-zero weights, in a layout with the batch innermost."""
