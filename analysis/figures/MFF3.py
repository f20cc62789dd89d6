"""MEST Figure F.3: unforgettable examples over training."""

from analysis.drawing.panel import Figure
from analysis.drawing.watched import counted
from analysis.names import system

FIGURE = Figure(
    id="MFF3",
    source="MEST Figure F.3",
    arrange=counted(lambda rows: rows["unforgettable"], system, "unforgettable examples so far"),
    made=(
        "Examples that were right at least once and never wrong after that, so far, on the training pass; mean over "
        "seeds, with a band of one sample standard deviation.",
        "Dense is the paper's pretrain, Static, a random mask that never changes, its vanilla.",
    ),
)
