"""The freeze epochs that the paper prints, for its own models, schedules and targets."""

from spfde_exp.rounding import round_half_up

# model -> (epochs, structure-change interval, blocks, {target: (T_frz, blocks it takes)}); SpFDE Tables A4 (ResNet-32)
# and A5 (ResNet-50). The blocks are what the target takes from there at constant density.
PUBLISHED = {
    "resnet32": (160, 5, 15, {0.10: (80, 5), 0.15: (70, 8), 0.20: (60, 9), 0.25: (60, 13)}),
    "resnet50": (150, 2, 16, {0.075: (90, 5), 0.10: (80, 6), 0.15: (60, 7), 0.20: (50, 8), 0.22: (50, 8)}),
}


def published_t_freeze(
    model: str, epochs: int, every: int, target: float, max_fraction: float, scaled: bool = False
) -> int | None:
    """T_frz of Table A4 or A5; None where the paper gives none, or it takes more than `max_fraction` of the blocks.

    With `scaled`, the published epoch is scaled to a run of `epochs` and rounded to the interval; without, only a
    run of the published length counts.
    """
    length, interval, blocks, table = PUBLISHED.get(model, (0, 0, 0, {}))
    if target not in table or every != interval or (epochs != length and not scaled):
        return None
    first, taken = table[target]
    if taken > round_half_up(max_fraction * blocks):
        return None
    return every * max(1, round_half_up(first * epochs / length / every))
