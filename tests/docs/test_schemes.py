"""The page of the schemes says what the code does: its picture, and the table of ResNet-32."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from spfde_exp.config import compose
from spfde_exp.plan import make_plan
from spfde_exp.sparse.distribution import Distribution
from spfde_exp.sparse.masks import Masks
from spfde_exp.sparse.scheme import layouts

PAGE = (Path(__file__).parents[2] / "docs" / "schemes.md").read_text(encoding="utf-8")
FIXED = ["recipe=cifar100", "sparsity=0.9", "freeze=none", "sieve=none"]


def test_the_picture_is_of_real_masks() -> None:
    drawn: dict[str, list[str]] = {}
    names: list[str] = []
    for line in PAGE[PAGE.index("    unstructured") : PAGE.index("| `sparsity.scheme=`")].splitlines():
        halves = [half.strip() for half in re.split(r"\s{6,}", line.strip()) if half]
        if halves and set("".join(halves)) <= set("#. "):
            for name, half in zip(names, halves, strict=True):
                drawn[name].append(half)
        elif halves:
            names = [half.split(",")[0] for half in halves]
            drawn |= {name: [] for name in names}
    assert list(drawn) == ["unstructured", "block", "pattern", "channel"]
    for scheme, rows in drawn.items():
        masks = Masks({"a": nn.Parameter(torch.ones(8, 4, 3, 3))}, 0.75, scheme=scheme)
        masks.init_random(0.75, torch.Generator().manual_seed(0))
        kept = masks.kept["a"].flatten(2)
        assert rows == [" ".join("".join(".#"[bit] for bit in kernel) for kernel in row.int()) for row in kept]


def test_the_table_of_resnet32() -> None:
    rows = re.findall(r"\| `(\w+)` \| ([\d.]+) % \| ([\d,]+) \| ([\d,]+) B \| ([\d,]+) B \|", PAGE)
    assert [row[0] for row in rows] == ["unstructured", "block", "hybrid", "pattern", "channel", "filter"]
    for scheme, zeros, *numbers in rows:
        more = [f"sparsity.scheme={scheme}", *(["sparsity.prunable=block_3x3"] if scheme == "pattern" else [])]
        em, ems = (
            make_plan(compose([*FIXED, f"method={method}", *more])).prediction() for method in ("mest_em", "mest_ems")
        )
        assert f"{100 * em['sparsity']:.2f}" == zeros
        expected = (em["params_active"], em["memory_mest_bytes"], ems["memory_mest_bytes"])
        assert tuple(int(number.replace(",", "")) for number in numbers) == expected


@pytest.mark.parametrize(("method", "sparsity"), [("dense", "dense"), ("rigl", "0.9")])
def test_what_it_is_compared_with(method: str, sparsity: str) -> None:
    cost = make_plan(compose([*FIXED, f"method={method}", f"sparsity={sparsity}"])).prediction()
    assert f"{cost['memory_mest_bytes']:,} B" in PAGE and f"{cost['params']:,} parameters" in PAGE


def test_what_an_update_moves() -> None:
    """Units that EM prunes (2 and 1 % of the weights) and EM&S grows (5 and 2.5 %), before and after the milestone."""
    rows = re.findall(
        r"^\| (\d+) \| (\d+) of \d+ \| (.*?) \| (.*?) \| ([\d,]+) of [\d,]+ \| (.*?) \| (.*?) \|$", PAGE, re.M
    )
    assert [row[0] for row in rows] == ["32", "64", "128"]
    for channels, *columns in rows:
        for scheme, (kept, em, ems) in (("channel", columns[:3]), ("block", columns[3:])):
            shape = (int(channels), int(channels), 3, 3)
            count = Distribution(layouts({"a": shape}, scheme), 0.9).units
            at = {level: count("a", level) for level in (0.9, 0.92, 0.91, 0.85, 0.875)}
            assert f"{at[0.9]:,}" == kept
            assert em.split(" \\| ") == [f"{at[0.9] - at[level]:,}" for level in (0.92, 0.91)]
            assert ems.split(" \\| ") == [f"{at[level] - at[0.9]:,}" for level in (0.85, 0.875)]
