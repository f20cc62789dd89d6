"""The files of printed values, and how a value is found."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest

from analysis.papers import FIXED, FOLDER, find_printed, footnotes, printed_values
from spfde_exp.config import compose, flatten
from spfde_exp.launch.sweepfile import sweep_names

SPFDE = [f"T{number}" for number in (1, 2, 3)] + [f"A{number}" for number in range(1, 13)]
MEST = ["M1", "M2", "MA1", "MG1", "MH1", "MH2", "MI1", "MI2", "MK1", "ML1"]
TABLES = [*SPFDE, *MEST]
ROWS = [(table, row) for table in TABLES for row in printed_values(table)]
PAGE = (Path(__file__).parents[2] / "docs" / "printed.md").read_text(encoding="utf-8")


# -- files


def test_every_table_has_a_file_and_every_file_a_table():
    assert sorted(path.stem for path in FOLDER.glob("*.csv")) == sorted([*TABLES, "footnotes"])


def test_columns_are_the_fixed_ones_and_keys_of_a_configuration():
    known = set(flatten(asdict(compose([]))))
    for table, row in ROWS:
        assert set(FIXED) <= set(row) <= {*FIXED, *known}
        assert row["table"] == table and row["paper"] == ("SpFDE" if table in SPFDE else "MEST")
        assert row["system"] and row["quantity"] and row["source"]
        if row["unit"]:
            assert math.isfinite(float(row["value"]) * float(row["unit"]))
        else:
            assert row["quantity"] in ("optim.schedule", "memory_footprint") or table == "MA1"


def test_footnotes_are_of_tables_and_figures_that_exist():
    ids = set(sweep_names())
    with (FOLDER / "footnotes.csv").open(encoding="utf-8") as file:
        named = [line.partition(",")[0] for line in file][1:]
    assert set(named) <= ids
    assert all(text.endswith(".") for table in ids for text in footnotes(table))


def test_quantities_are_described():
    for table, row in ROWS:
        if table not in ("A3", "MG1"):  # keys of the configuration
            assert f"`{row['quantity']}`" in PAGE


# -- looking up


CELL = {"sparsity.target": 0.9, "freeze.target": 0.2, "sieve.ratio": 0.0}


def test_a_value_and_its_deviation():
    row = {"method.name": "mest_ems", "sparsity.target": 0.9, "freeze.target": 0.15, "sieve.ratio": 0.15}
    assert find_printed("T2", "cifar100", row) == (71.35, 0.28)
    assert find_printed("T2", "cifar100", row, "train_flops_paper") == (pytest.approx(1.26e15), None)
    assert find_printed("A8", "cifar100", CELL) == (71.29, None)


def test_what_is_not_printed():
    assert find_printed("A8", "cifar100", {**CELL, "freeze.target": 0.11}) == (None, None)
    assert find_printed("A8", "digits", CELL) == (None, None)
    assert find_printed("A8", "cifar100", CELL, "train_flops_paper") == (None, None)
    assert find_printed("digits", "digits", CELL) == (None, None)
    lottery = {"method.name": "lth", "sparsity.target": 0.9, "freeze.target": 0.0, "sieve.ratio": 0.0}
    assert find_printed("T2", "grasp_cifar100", lottery, "train_flops_paper") == (None, None)  # N/A


def test_texts_and_missing_settings():
    lengths = {"method.name": "mest_ems", "sparsity.target": 0.8, "epochs": 75}
    assert find_printed("M2", "mest_imagenet", {**lengths, "sieve.mode": "none"})[0] == 75.11
    assert find_printed("M2", "mest_imagenet", {**lengths, "sieve.mode": "two_phase"})[0] == 75.09
    fewer = {"sparsity.target": 0.9, "sieve.mode": "two_phase", "sieve.count": 17900, "sieve.phase1_epochs": 40}
    assert find_printed("ML1", "mest_cifar10", fewer)[0] == 93.02
    assert find_printed("ML1", "mest_cifar10", {**fewer, "sieve.count": None}) == (None, None)
