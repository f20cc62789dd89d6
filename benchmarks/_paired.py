"""Paired timing, as `analysis.paired` has it, and how benchmarks print it."""

from collections.abc import Sequence

from analysis.paired import MIN_TURNS, Ratio, Turns, median, ratio, take_turns

__all__ = ["MIN_TURNS", "Ratio", "Turns", "median", "print_table", "ratio", "take_turns", "verdict"]


def verdict(figure: float, most: float) -> str:
    """Whether `figure` keeps to the target."""
    return f"<= {most:g}: {'met' if figure <= most else 'MISSED'}"


def print_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print `rows`, of which the first is the heading, in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    print(f"\n{title}")
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip(), flush=True)
