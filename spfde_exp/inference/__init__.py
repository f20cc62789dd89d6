"""Networks, or their first blocks, that are no longer trained: batch norm folded away, dead channels left out."""

# Files of an exported run.
PROGRAM, WEIGHTS, REPORT = "model.pt2", "weights.pt", "export.json"
SHRINKING = ("channel", "filter")  # sparsity schemes that leave whole channels dead
