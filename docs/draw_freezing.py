"""Draws freezing.svg, what each scheme freezes when, and prints the table beside it: `python docs/draw_freezing.py`.

As SpFDE Figure 3 (a), but from the plans of Table A1's runs.
"""

from itertools import groupby
from pathlib import Path

from draw_idea import BLUE, INK, LEFT, Picture, head

from spfde_exp.config import compose
from spfde_exp.plan import RunPlan, make_plan

TITLE = "Four ways to save 20 % by freezing"
RUN = ("recipe=cifar100", "sparsity=0.9", "sieve=none")
# option -> what the plan does, in words; the first four are those of Figure 3 (a) and Table A1
SCHEMES = {
    "single_shot": ("Single-shot", "one block after another, for good"),
    "single_shot_resume": ("Single-shot and resume", "the same, earlier, and all train again at the end"),
    "periodic": ("Periodic", "the first group trains in one epoch of four, the second in one of two"),
    "delayed_periodic": ("Delayed periodic", "the same with larger groups, after a quarter of the epochs"),
}
MORE = ("single_shot freeze.fraction=2/3", "freezeout", "freezeout freeze.spacing=linear")
GREY, ROW = "#dddddd", 9


def plan_of(option: str) -> RunPlan:
    """The plan of `freeze=<option>` for ResNet-32 on CIFAR-100 at 90 % sparsity."""
    return make_plan(compose([*RUN, *f"freeze={option}".split()]))


def draw(plans: dict[str, RunPlan]) -> str:
    """The picture of `plans` (option of SCHEMES -> plan) as SVG text, one panel below the other."""
    epochs = next(iter(plans.values())).epochs
    picture, top = Picture(epochs), 76.0
    picture.text(24, 34, TITLE, size=18, bold=True)
    picture.text(24, 54, "ResNet-32, 15 blocks, 160 epochs. Blue is trained, grey is frozen.", 13, colour="#555555")
    for letter, (option, plan) in zip("abcd", plans.items(), strict=False):
        name, words = SCHEMES[option]
        picture.heading(top + 12, letter, name, f"{words}: {100 * plan.freeze.reduction():.1f} %")
        top = _panel(picture, plan, top + 20) + 14
    height = picture.axis(top - 14)
    return "\n".join([*head(TITLE, _said(plans), height), *picture.parts, "</svg>", ""])


def _panel(picture: Picture, plan: RunPlan, top: float) -> float:
    names = [*(f"block {number}" for number in range(1, len(plan.freeze.blocks) + 1)), "classifier"]
    bottom, first = top + ROW * len(names), 0
    picture.box(0, plan.epochs, top, bottom - top, BLUE)
    for depth, epochs in groupby(plan.freeze.frozen):
        last = first + len(list(epochs))
        if depth:
            picture.box(first, last, bottom - ROW * depth, ROW * depth, GREY)
        first = last
    for row in range(1, len(names)):
        picture.line(LEFT, top + ROW * row, picture.x(plan.epochs), top + ROW * row, "#ffffff", 0.6)
    for row, name in enumerate(reversed(names)):
        if name in ("classifier", "block 15", "block 10", "block 5", "block 1"):
            picture.text(LEFT - 8, top + ROW * row + 8, name, 10, "end", INK)
    return bottom


def _said(plans: dict[str, RunPlan]) -> str:
    parts = [f"{SCHEMES[option][0]}: {plan.freeze.summary()}." for option, plan in plans.items()]
    return f"Panels over 160 epochs, blocks from the first at the bottom to the classifier. {' '.join(parts)}"


def table() -> str:
    """Every scheme with what it saves, as Markdown."""
    rows = ["| `freeze=` | freezes | saves, flat | at the density trained | as executed |", "|---|---|---|---|---|"]
    whole = plan_of("none").train_flops()
    for option in (*SCHEMES, *MORE):
        plan = plan_of(option)
        cost = plan.prediction()
        flat, trained = (100 * cost[f"flops_reduction_freeze{end}"] for end in ("", "_trained"))
        executed = 100 * (1 - plan.train_flops() / whole)
        shares = " | ".join(f"{share:.2f} %" for share in (flat, trained, executed))
        rows.append(f"| `{option}` | {plan.freeze.summary()} | {shares} |")
    return "\n".join(rows)


if __name__ == "__main__":
    target = Path(__file__).with_name("freezing.svg")
    target.write_text(draw({option: plan_of(option) for option in SCHEMES}), encoding="utf-8")
    print(table())
