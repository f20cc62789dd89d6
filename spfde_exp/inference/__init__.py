"""Networks, or their first blocks, that are no longer trained: batch norm folded away, dead channels left out."""
