"""The freeze epochs that the paper prints, for its own models, schedules and targets."""

from spfde_exp.rounding import round_half_up

# model -> (epochs, structure-change interval, {target: T_frz}); SpFDE Tables A4 (ResNet-32) and A5 (ResNet-50)
PUBLISHED = {
    "resnet32": (160, 5, {0.10: 80, 0.15: 70, 0.20: 60, 0.25: 60}),
    "resnet50": (150, 2, {0.075: 90, 0.10: 80, 0.15: 60, 0.20: 50, 0.22: 50}),
}


def published_t_freeze(model: str, epochs: int, every: int, target: float, scaled: bool = False) -> int | None:
    """T_frz of Table A4 or A5, or None where the paper gives none.

    With `scaled`, the published epoch is scaled to a run of `epochs` and rounded to the interval; without, only a
    run of the published length counts.
    """
    length, interval, table = PUBLISHED.get(model, (0, 0, {}))
    if target not in table or every != interval or (epochs != length and not scaled):
        return None
    return every * max(1, round_half_up(table[target] * epochs / length / every))
