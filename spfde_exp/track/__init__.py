"""Where a run reports to besides its own folder: Weights & Biases and the console."""
