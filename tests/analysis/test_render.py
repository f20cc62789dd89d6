"""The four formats: each parses, and all say the same."""

import csv
import io
import json
import re

import pytest

from analysis.build import build
from analysis.render import WRITERS
from analysis.tables import find_table


@pytest.fixture
def texts(tmp_path, plant):
    """Table A10 under the paper's recipe, with a missing cell and one of two seeds, in all formats."""
    plant("A10", cells=[0, 1, 2, 3])
    plant("A10", cells=[4], seeds=(0, 1))
    table = build(find_table("A10"), [tmp_path / "runs"])
    return {name: write(table) for name, write in WRITERS.items()}


def test_json(texts):
    tree = json.loads(texts["json"])
    assert (tree["id"], tree["paper"], tree["overrides"]) == ("A10", True, [])
    rows = tree["rows"]
    assert [row["label"] for row in rows] == ["Target", "FLOPs reduction %", "Accuracy %"] * 2
    first = rows[2]["cells"][0]
    assert first["settings"] == {"freeze": "0.15", "sieve": "0.15"}
    assert first["mean"] == pytest.approx(50 + 0.4 / 3) and first["n"] == 3
    assert first["printed"] == 71.35 and first["difference"] == pytest.approx(50 + 0.4 / 3 - 71.35)
    assert len(first["signatures"]) == 3 and all(re.fullmatch("[0-9a-f]{16}", s) for s in first["signatures"])
    empty = rows[5]["cells"][2]
    assert (empty["mean"], empty["std"], empty["n"], empty["printed"]) == (None, None, 0, 70.59)
    assert tree["command"].startswith("python -m spfde_exp -m +sweep=A10 ")


def test_csv(texts):
    header, *lines = csv.reader(io.StringIO(texts["csv"]))
    assert len(lines) == 12 and {len(line) for line in lines} == {len(header)}
    everything = [dict(zip(header, line, strict=True)) for line in lines]
    rows = [row for row in everything if row["quantity"] == "test_acc"]
    assert [row["column"] for row in rows[:3]] == ["Freeze + Data Sieve", "Freeze only", "Data Sieve only"]
    assert float(rows[4]["std"]) == pytest.approx(0.1 / 2**0.5)  # two runs, 0.1 apart
    assert (rows[4]["n"], rows[5]["n"], rows[5]["mean"]) == ("2", "0", "")
    (saved,) = [row for row in everything if row["quantity"] != "test_acc" and row["freeze"] == "0.2"]
    assert (saved["quantity"], float(saved["mean"])) == ("flops_reduction_total", pytest.approx(0.36))
    assert len(rows[0]["signatures"].split()) == 3


def test_markdown(texts):
    lines = [line for line in texts["markdown"].splitlines() if line.startswith("|")]
    assert {len(line.split("|")) for line in lines} == {4 + 2}
    assert re.fullmatch(r"\|( :?-+:? \|){4}", lines[1])
    assert lines[2] == "| Target | 15 % + 15 % | 27.5 % | 27.5 % |"
    assert lines[3] == "| FLOPs reduction % | 27.75 (3) | 27.50 (3) | 27.50 (3) |"
    assert lines[4] == "| printed | 27.75 | 27.50 | 27.50 |"
    assert lines[6] == "| Accuracy % | 50.13 ± 0.15 (3) | 51.63 ± 0.15 (3) | 53.13 ± 0.15 (3) |"
    assert lines[7] == "| printed | 71.35 | 71.08 | 71.09 |"
    assert lines[8] == "| difference | -21.22 | -19.45 | -17.96 |"
    assert lines[13] == "| Accuracy % | 54.63 ± 0.15 (3) | 56.05 ± 0.07 (2) | — |"
    assert lines[15] == "| difference | -16.62 | -14.21 |  |"
    assert "the paper's recipe: cifar100, resnet32 x2, 160 epochs" in texts["markdown"]
    assert "freeze=0.35 sieve=none has n = 2; missing seed 2" in texts["markdown"]
    assert "    python -m spfde_exp -m +sweep=A10 " in texts["markdown"]


def test_latex(texts):
    text = texts["latex"]
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text).group(1)
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.strip() and line != r"\midrule"]
    assert len(rows) == 1 + 14
    assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 and row.endswith(r"\\") for row in rows)
    assert r"15 \% + 15 \%" in body and r"50.13 $\pm$ 0.15 (3)" in body
    without_comments = text.partition("\n")[2].replace("{%", "{")
    assert not re.search(r"(?<!\\)[%#_]", without_comments) and "±" not in text and "—" not in text
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert r"python -m spfde\_exp -m +sweep=A10" in text


def test_another_recipe_is_named_and_has_no_printed_rows(tmp_path, plant):
    plant("A10", "recipe=digits")
    text = WRITERS["markdown"](build(find_table("A10"), [tmp_path / "runs"]))
    assert "not the paper's recipe: digits, resnet14 x0.5, 80 epochs; recipe=digits" in text
    assert "| printed" not in text and "| difference" not in text
    assert "what is missing" not in text
