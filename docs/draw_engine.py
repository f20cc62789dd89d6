"""Draws engine.svg, the picture of sparse-engine.md: `python docs/draw_engine.py` (needs the extra `figures`)."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

BLUE, ORANGE, INK, SOFT, PALE = "#0072b2", "#d55e00", "#1a1a1a", "#555555", "#e3ebf2"
PIXELS, BATCH = 4, 4  # columns and rows of an image, and images, in the picture
RIGHT = 9.4  # where the written channel begins


def pixel(axes: Axes, x: float, y: float, fill: str, zero: bool) -> None:
    """One number for each image of the batch, side by side in memory."""
    for image in range(BATCH):
        left = x + image / BATCH
        axes.add_patch(Rectangle((left, y), 1 / BATCH, 0.7, facecolor=fill, edgecolor=SOFT, linewidth=0.5))
        if zero:
            colour = "white" if fill == BLUE else SOFT
            axes.text(left + 0.5 / BATCH, y + 0.35, "0", ha="center", va="center", fontsize=6, color=colour)


def channel(axes: Axes, left: float, border: int, chosen: tuple[int, int], colour: str) -> None:
    """Its rows, from the top; of row `chosen[0]`, the pixels from column `chosen[1]` on are marked."""
    size = PIXELS + 2 * border
    for row in range(size):
        for column in range(size):
            edge = bool(border) and (row in (0, size - 1) or column in (0, size - 1))
            marked = row == chosen[0] and chosen[1] <= column < chosen[1] + PIXELS
            fill = colour if marked else "white" if edge else PALE
            pixel(axes, left + column, PIXELS - row + border, fill, edge)


def main() -> None:
    """Write engine.svg."""
    plt.rcParams["svg.hashsalt"] = "engine"
    figure, axes = plt.subplots(figsize=(8.2, 3.9))
    channel(axes, 0, 1, (2, 2), BLUE)
    channel(axes, RIGHT, 0, (1, 0), ORANGE)
    ends = (6.1, 3.35), (RIGHT - 0.1, 3.35)
    axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=14, color=INK, linewidth=1.3))
    middle = (ends[0][0] + ends[1][0]) / 2
    axes.text(middle, 3.55, "times one weight", ha="center", fontsize=10, color=INK)
    axes.text(middle, 2.95, "row 1, column 2\nof a 3x3 kernel", ha="center", va="top", fontsize=8, color=SOFT)
    axes.text(0, 6.0, "a channel that is read, in a border of zeros", fontsize=9.5, color=INK)
    axes.text(RIGHT, 6.0, "a channel that is written", fontsize=9.5, color=INK)
    axes.plot([1, 1, 2, 2], [-0.12, -0.25, -0.25, -0.12], color=SOFT, linewidth=0.9)
    axes.text(
        1, -0.5, "a pixel: one number for each image\nof the batch, side by side", fontsize=8, color=SOFT, va="top"
    )
    axes.text(
        RIGHT, 0.35, "A weight is a multiply-add over whole rows:\nwidth x batch numbers, all contiguous.\n"
        "A masked weight takes no time.", fontsize=9, color=INK, va="top",
    )  # fmt: skip
    axes.set(xlim=(-0.2, 14.6), ylim=(-1.4, 6.4))
    axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    title = "How the sparse engine computes a convolution"
    figure.savefig(Path(__file__).with_name("engine.svg"), metadata={"Date": None, "Title": title})


if __name__ == "__main__":
    main()
