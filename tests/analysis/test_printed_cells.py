"""Printed values against the cells of the sweep files, and FLOPs against the cost model (docs/printed.md)."""

import re
from dataclasses import asdict
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from analysis.papers import matching, printed_values
from spfde_exp.config import compose, flatten
from spfde_exp.launch.sweepfile import load_sweep
from spfde_exp.plan import make_plan
from spfde_exp.schema import Config

PAGE = (Path(__file__).parents[2] / "docs" / "printed.md").read_text(encoding="utf-8")

# Tables of something else than accuracy, and what each of their cells has instead.
INSTEAD = {
    "A4": "t_freeze",
    "A5": "t_freeze",
    "A11": "epoch_time_mean_s",
    "A12": "epoch_time_mean_s",
    "MA1": "memory_mest_bytes",
    "MI2": "train_flops_paper",
}
# Rows that no cell stands for: Table A4 is of both CIFARs, whose epochs are the same.
ASIDE = {"A4": "cifar10"}
# Tables whose cells are composed within seconds.
QUICK = ("A5", "A10", "A11", "A12", "MA1", "ML1")
SWEPT = (
    "T2", "T3", "A1", "A2", "A4", "A5", "A6", "A7", "A8", "A9", "A10", "A11", "A12",
    "M1", "M2", "MA1", "MH1", "MH2", "MI1", "MI2", "MK1", "ML1",
)  # fmt: skip
COSTED = ("T2", "T3", "A1", "A4", "A5", "A6", "A7", "A10", "M2", "MI2", "MK1")
HEAD = "| table | quantity | system | sparsity | printed | cost model | ratio | why |"


def marked(tables):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in tables]


@cache
def cells(table: str) -> list[tuple[str, Config]]:
    """Recipe and resolved configuration of each cell."""
    sweep = load_sweep(table)
    runs = [sweep.base | cell for cell in sweep.cells]
    return [(run["recipe"], compose([f"{key}={text}" for key, text in run.items()])) for run in runs]


def rows_of(table: str) -> list[tuple[Config, list[dict[str, str]]]]:
    """Each cell with the printed rows that are of it."""
    return [(config, list(matching(table, recipe, flatten(asdict(config))))) for recipe, config in cells(table)]


@pytest.mark.parametrize("table", marked(SWEPT))
def test_each_printed_row_is_of_one_cell_and_each_cell_is_printed(table):
    found = []
    for config, rows in rows_of(table):
        assert len({row["quantity"] for row in rows}) == len(rows), config
        assert INSTEAD.get(table, "test_acc") in {row["quantity"] for row in rows}, config
        found += [row for row in rows if row["quantity"] != "memory_footprint"]  # a method's, at every sparsity
    wanted = [
        row
        for row in printed_values(table)
        if row["quantity"] != "memory_footprint" and row["recipe"] != ASIDE.get(table, "")
    ]
    assert sorted(map(str, found)) == sorted(map(str, wanted))


VGG19 = ("model=vgg19", "optim.weight_decay=5e-4", "optim.warmup_epochs=5")  # as the sweep of Table H.1


@pytest.mark.parametrize(("table", "recipe", "more"), [
    ("A3", "cifar10", ()), ("A3", "cifar100", ()), ("A3", "imagenet", ()),
    ("MG1", "mest_cifar10", ()), ("MG1", "mest_cifar100", VGG19), ("MG1", "mest_imagenet", ()),
])  # fmt: skip
def test_recipes_have_the_printed_settings(table, recipe, more):
    """All but EM's mutation ratio, which is that of the released scripts (docs/decisions.md)."""
    for method in ("mest_em", "mest_ems") if table == "MG1" else ("mest_ems",):
        values = flatten(asdict(compose([f"recipe={recipe}", f"method={method}", "sparsity=0.9", *more])))
        rows = list(matching(table, recipe, values))
        assert len(rows) == (13 if table == "MG1" else 12)
        for row in rows:
            found = values[row["quantity"]]
            found = found[0] if isinstance(found, list) else found
            if (method, row["quantity"]) == ("mest_em", "method.p"):
                assert (found, row["value"]) == (0.02, "0.05")
            else:
                assert row["value"] == found or float(row["value"]) == found, row["quantity"]


def measured(config: Config) -> dict[str, float]:
    """What a plan tells without training, and the first epoch with a frozen block."""
    plan = make_plan(config)
    frozen = [epoch for epoch, depth in enumerate(plan.freeze.frozen) if depth]
    return plan.prediction() | ({"t_freeze": frozen[0]} if frozen else {})


def differences(table: str) -> list[str]:
    """Lines of the page's table, less the reason: each printed value that is not the rounded cost model's.

    Equal values stand in one line with all their systems.
    """
    lines: dict[tuple[str, str, str, str], list[str]] = {}
    for config, rows in rows_of(table):
        cost = measured(config)
        for row in rows:
            if row["quantity"] in cost and row["quantity"] != "epoch_time_mean_s":
                model = cost[row["quantity"]] / float(row["unit"])
                last = Decimal(1).scaleb(Decimal(row["value"]).as_tuple().exponent)
                if abs(Decimal(model) - Decimal(row["value"])) > last / 2:
                    sparsity = f"{100 * config.sparsity.target:g} %"
                    shown = f"{model:.{max(2, -last.as_tuple().exponent) + 1}f}"
                    ratio = f"{float(row['value']) / model:.3f}"
                    factor = "" if float(row["unit"]) == 1 else f" x {row['unit']}"
                    key = (row["quantity"], sparsity, row["value"] + factor, f"{shown} | {ratio}")
                    lines.setdefault(key, []).append(row["system"])
    return [
        f"| {table} | `{quantity}` | {', '.join(dict.fromkeys(systems))} | {sparsity} | {printed} | {rest} |"
        for (quantity, sparsity, printed, rest), systems in lines.items()
    ]


def listed() -> dict[str, list[str]]:
    """Lines of the page's table, less the reason, by table."""
    answer: dict[str, list[str]] = {table: [] for table in COSTED}
    for line in PAGE[PAGE.index(HEAD) :].splitlines()[2:]:
        if not line.startswith("|"):
            break
        *facts, why = line.removesuffix(" |").split(" | ")
        for reason in why.split(", "):
            assert re.search(rf"^- \*\*{reason}\*\*: ", PAGE, flags=re.MULTILINE), f"no reason {reason}"
        answer[facts[0].removeprefix("| ")].append(" | ".join(facts) + " |")
    return answer


@pytest.mark.parametrize("table", marked(COSTED))
def test_differences_to_the_cost_model_are_those_of_the_page(table):
    assert differences(table) == listed()[table]
