"""Planted runs come out in the right cells, and only there."""

import random
import statistics
from itertools import count

import pytest
import yaml

from analysis.build import Cell, Table, build
from analysis.tables import find_table
from spfde_exp.errors import UserError


def fill(table, tmp_path, *arguments):
    return build(find_table(table), [tmp_path / "runs"], arguments)


def numbers(table: Table) -> list[list[Cell]]:
    """The cells, row by row, without rows of text."""
    return [[c for c in cells if isinstance(c, Cell)] for _, cells in table.rows if isinstance(cells[0], Cell)]


def flat(table: Table) -> list[Cell]:
    """The accuracies in the order of the sweep file."""
    return [cell for row in numbers(table) for cell in row if cell.quantity.name == "test_acc"]


def planted(cell: int, seeds=(0, 1, 2)) -> list[float]:
    return [50 + 1.5 * cell + (0.0, 0.1, 0.3)[seed] for seed in seeds]


def test_a8_under_the_papers_recipe(tmp_path, plant):
    names = [f"x{n:03}" for n in range(54)]
    random.Random(0).shuffle(names)  # cells are found by configuration, whatever the folders are called
    numbered = count()
    paths = plant("A8", name=lambda config: names[next(numbered)])
    table = fill("A8", tmp_path)
    assert table.paper and table.command is None and table.overrides == ()
    assert table.head == (
        "FLOPs reduction", "None", "10 %", "15 %", "20 %", "25 %", "27.5 %", "30 %", "32.5 %", "35 %",
    )  # fmt: skip
    assert [label for label, _ in table.rows] == ["sparsity 60 %", "sparsity 90 %"]
    for index, cell in enumerate(flat(table)):
        assert cell.mean == pytest.approx(statistics.mean(planted(index)))
        assert cell.std == pytest.approx(statistics.stdev(planted(index)))
        assert cell.n == 3
        assert cell.signatures == tuple(paths[index, seed].name for seed in range(3))
    first, last = numbers(table)[0][0], numbers(table)[1][8]  # printed: 60 %, None, and 90 %, 35 %
    assert (first.printed, last.printed) == (73.97, 70.26)
    assert first.difference == pytest.approx(statistics.mean(planted(0)) - 73.97)
    assert any("54 runs" in note and "renamed or edited" in note for note in table.notes)


def test_a9_on_digits_has_no_printed_values(tmp_path, plant):
    plant("A9", "recipe=digits", cells=[0, 12])
    table = fill("A9", tmp_path)
    assert table.overrides == ("recipe=digits",) and not table.paper
    assert table.protocol == "digits, resnet14 x0.5, 80 epochs"
    cells = numbers(table)
    assert cells[0][0].mean == pytest.approx(statistics.mean(planted(0)))
    assert cells[1][3].mean == pytest.approx(statistics.mean(planted(12)))  # 9 columns: 12 is 90 %, 20 %
    assert [c.n for c in flat(table)].count(0) == 16
    assert all(c.printed is None for c in flat(table))
    assert table.footnotes == ()  # they speak of printed values


def test_a10_has_the_papers_two_blocks(tmp_path, plant):
    plant("A10")
    table = fill("A10", tmp_path)
    assert table.head == ("", "Freeze + Data Sieve", "Freeze only", "Data Sieve only")
    assert [label for label, _ in table.rows] == ["Target", "FLOPs reduction %", "Accuracy %"] * 2
    assert table.rows[0][1] == ("15 % + 15 %", "27.5 %", "27.5 %")
    assert table.rows[3][1] == ("20 % + 20 %", "35 %", "35 %")
    saved, first, more, second = numbers(table)
    assert [c.mean for c in (*saved, *more)] == pytest.approx([0.2775, 0.275, 0.275, 0.36, 0.35, 0.35])
    assert [c.printed for c in (*saved, *more)] == pytest.approx([0.2775, 0.275, 0.275, 0.36, 0.35, 0.35])
    assert [[c.printed for c in row] for row in (first, second)] == [[71.35, 71.08, 71.09], [71.25, 70.26, 70.59]]
    means = [c.mean for c in flat(table)]
    assert means == pytest.approx([statistics.mean(planted(n)) for n in range(6)])


def test_other_tables_runs_in_the_same_folder_do_not_disturb(tmp_path, plant):
    plant("A10", "recipe=digits")
    plant("A9", "recipe=digits", cells=[10])  # freeze=none sieve=0.1 at 90 %: no cell of A10
    assert fill("A10", tmp_path).command is None
    assert [c.n for c in flat(fill("A9", tmp_path))].count(3) == 1 + 2  # A10's sieving only, too


def test_one_changed_key_empties_the_cell(tmp_path, plant):
    paths = plant("A10")
    for seed in range(3):
        file = paths[4, seed] / "config.yaml"
        config = yaml.safe_load(file.read_text())
        config["optim"]["lr"] = 0.14
        file.write_text(yaml.safe_dump(config))
    table = fill("A10", tmp_path)
    assert table.paper
    assert [c.n for c in flat(table)] == [3, 3, 3, 3, 0, 3]
    assert any("3 runs" in note and "other optim.lr" in note for note in table.notes)


def test_one_protocol_is_found_and_spelled(tmp_path, plant):
    plant("A10", "recipe=digits", "epochs=20", "optim.lr=0.05", "freeze.bn=train")
    table = fill("A10", tmp_path)
    assert set(table.overrides) == {"recipe=digits", "epochs=20", "optim.lr=0.05", "freeze.bn=train"}
    assert table.protocol == "digits, resnet14 x0.5, 20 epochs"
    assert table.command is None


@pytest.mark.parametrize(
    "overrides",
    [("recipe=digits", "debug=tiny"), ("recipe=digits", "epochs=80", "freeze.t_freeze=10"), ("optim.lr=0.1",)],
)
def test_the_spelling_of_a_protocol_means_the_same_configurations(tmp_path, plant, overrides):
    plant("A10", *overrides)
    table = fill("A10", tmp_path)
    assert table.command is None and not table.paper
    again = fill("A10", tmp_path, *table.overrides)
    assert numbers(again) == numbers(table)


def test_several_protocols_are_an_error_that_names_keys_and_choices(tmp_path, plant):
    plant("A10", "recipe=digits")
    plant("A10", "recipe=digits", "epochs=20", cells=[0])
    with pytest.raises(UserError, match=r"2 protocols.*epochs.*recipe=digits or recipe=digits epochs=20") as error:
        fill("A10", tmp_path)
    assert "optim" not in str(error.value)
    assert fill("A10", tmp_path, "recipe=digits").command is None
    short = fill("A10", tmp_path, "recipe=digits", "epochs=20")
    assert [c.n for c in flat(short)] == [3, 0, 0, 0, 0, 0]


def test_two_settings_of_one_cell_are_an_error_that_names_the_key(tmp_path, plant):
    plant("A10", "recipe=digits")
    plant("A10", "recipe=digits", "freeze.bn=train", cells=[4])
    with pytest.raises(UserError, match=r"differ in freeze\.bn \(eval and train\)"):
        fill("A10", tmp_path)
    assert fill("A10", tmp_path, "recipe=digits").command is None


def test_what_another_table_varies_is_no_other_setting_of_this_one(tmp_path, plant):
    """Table A2 has other update ratios of the same freezing and sieving."""
    plant("A10", "recipe=digits")
    plant("A2", "recipe=digits", cells=[1, 3], value=lambda cell, seed: 10.0)  # 20 and 50 %
    table = fill("A10", tmp_path)
    assert [c.n for c in flat(table)] == [3] * 6 and min(c.mean for c in flat(table)) > 50
    assert any("6 runs have a cell's settings" in note and "sieve.update_ratio" in note for note in table.notes)


def test_the_papers_recipe_wins_when_a_run_has_it(tmp_path, plant):
    plant("A10", "recipe=digits")
    plant("A10", cells=[2], seeds=(0,))
    table = fill("A10", tmp_path)
    assert table.paper
    assert [(c.n, c.std) for c in flat(table)] == [(n, None) for n in (0, 0, 1, 0, 0, 0)]


def test_seeds_beside_the_tables_are_used_only_when_asked_for(tmp_path, plant):
    plant("A10", "recipe=digits", seeds=(0, 1, 2, 3))
    assert any("seed 3; add seed=0,1,2,3" in note for note in fill("A10", tmp_path).notes)
    assert {c.n for c in flat(fill("A10", tmp_path, "seed=0,1,2,3"))} == {4}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("freeze=0.1", "A10 varies freeze and sieve itself"),
        ("freeze.target=0.1", "makes cells of the table equal"),
        ("optim.lr=0.1,0.2", "names several protocols"),
        ("seed=first", "whole number"),
    ],
)
def test_overrides_choose_a_protocol_and_nothing_else(tmp_path, plant, argument, message):
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match=message):
        fill("A10", tmp_path, argument)
