"""The command that trains what a table still misses."""

import shlex
from collections.abc import Collection

from analysis.protocol import Protocol


def command(protocol: Protocol, missing: Collection[tuple[int, int]], runs_dir: str) -> str:
    """A command line that trains all of `missing`, and little else of the table.

    It may name runs of the table that are done already: those are skipped.

    Args:
        protocol: the table's cells and seeds.
        missing: numbers of cells, each with a seed.
        runs_dir: where the runs go.
    """
    words = ["python", "-m", "spfde_exp", "-m", f"+sweep={protocol.sweep.id}", *protocol.overrides]
    words += _narrowed(protocol, {cell for cell, _ in missing})
    seeds = [seed for seed in protocol.seeds if any(seed == s for _, s in missing)]
    if tuple(seeds) != protocol.sweep.seeds:
        words.append(f"seed={','.join(map(str, seeds))}")
    if runs_dir != "runs":
        words.append(f"runs_dir={runs_dir}")
    return shlex.join(words)


def _narrowed(protocol: Protocol, wanted: Collection[int]) -> list[str]:
    """Overrides that leave the grid around `wanted`; the cells by number if that grid is no part of the table."""
    cells = protocol.sweep.cells
    if len(wanted) == len(cells):
        return []
    replaced = {word.partition("=")[0] for word in protocol.overrides}
    if all(cell.keys() == cells[0].keys() for cell in cells) and replaced.isdisjoint(cells[0]):
        words, size = [], 1
        chosen = {key: dict.fromkeys(cells[index][key] for index in sorted(wanted)) for key in cells[0]}
        for key, values in chosen.items():
            size *= len(values)
            if len(values) < len({cell[key] for cell in cells}):
                words.append(f"{key}={','.join(values)}")
        if sum(all(cell[key] in values for key, values in chosen.items()) for cell in cells) == size:
            return words
    return [f"+cell={','.join(str(index + 1) for index in sorted(wanted))}"]
