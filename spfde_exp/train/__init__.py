"""The training loop: one epoch, optimiser groups, evaluation, checkpoints."""
