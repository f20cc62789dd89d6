"""Draws freezing.svg, what each scheme freezes when, and prints the table beside it: `python docs/draw_freezing.py`.

The picture is SpFDE Figure 3 (a), as `python -m analysis F3a` draws it from the plans of Table A1's runs.
"""

from pathlib import Path

from analysis.drawing.drawn import draw
from analysis.figures import find_figure
from analysis.load import load_runs
from spfde_exp.config import compose
from spfde_exp.plan import RunPlan, make_plan

RUN = ("recipe=cifar100", "sparsity=0.9", "sieve=none")
SCHEMES = (
    "single_shot", "single_shot_resume", "periodic", "delayed_periodic", "single_shot freeze.fraction=2/3", "freezeout",
    "freezeout freeze.spacing=linear",
)  # fmt: skip


def plan_of(option: str) -> RunPlan:
    """The plan of `freeze=<option>` for ResNet-32 on CIFAR-100 at 90 % sparsity."""
    return make_plan(compose([*RUN, *f"freeze={option}".split()]))


def picture() -> bytes:
    """The picture as SVG."""
    return draw(find_figure("F3a"), load_runs([])).svg


def table() -> str:
    """Every scheme with what it saves, as Markdown."""
    rows = ["| `freeze=` | freezes | saves, flat | at the density trained | as executed |", "|---|---|---|---|---|"]
    whole = plan_of("none").train_flops()
    for option in SCHEMES:
        plan = plan_of(option)
        cost = plan.prediction()
        flat, trained = (100 * cost[f"flops_reduction_freeze{end}"] for end in ("", "_trained"))
        executed = 100 * (1 - plan.train_flops() / whole)
        shares = " | ".join(f"{share:.2f} %" for share in (flat, trained, executed))
        rows.append(f"| `{option}` | {plan.freeze.summary()} | {shares} |")
    return "\n".join(rows)


if __name__ == "__main__":
    Path(__file__).with_name("freezing.svg").write_bytes(picture())
    print(table())
