"""Every table of the papers: from nothing at all, and from planted runs."""

import shlex

import pytest

from analysis.build import Cell, build, fill
from analysis.layout import Definition, Fact, pivot
from analysis.load import load_runs
from analysis.names import ratio, system
from analysis.render import WRITERS
from analysis.tables import find_table, table_ids
from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import expand, load_sweep
from spfde_exp.options import accept_numbers

NEEDS = {name: load_sweep(name).needs for name in table_ids()}


def cells(table):
    return [item for _, row in table.rows for item in row if isinstance(item, Cell)]


def accuracies(table):
    return {
        (label, head): item.mean
        for label, row in table.rows
        for head, item in zip(table.head[1:], row, strict=True)
        if isinstance(item, Cell) and item.quantity.name == "test_acc"
    }


@pytest.mark.parametrize("name", [name for name, needs in NEEDS.items() if needs == "runs"])
def test_without_runs_every_number_is_missing_and_a_command_trains_all(name):
    table = build(find_table(name), [])
    assert table.paper and {cell.n for cell in cells(table)} == {0}
    assert {cell.mean for cell in cells(table)} == {None}
    sweep = load_sweep(name)
    assert table.runs == (0, len(sweep.cells) * len(sweep.seeds))
    accept_numbers()
    words = shlex.split(table.command)
    assert words[:4] == ["python", "-m", "spfde_exp", "-m"]
    assert len(expand(words[4:], None)) == table.runs[1]
    for write in WRITERS.values():
        assert name in write(table)


@pytest.mark.parametrize("name", [name for name, needs in NEEDS.items() if needs == "runs"])
def test_every_number_of_the_papers_stands_in_its_table(name):
    """Each printed accuracy is shown once, and nothing is shown that is not printed."""
    from analysis.papers import printed_values

    table = build(find_table(name), [])
    shown = sorted(cell.printed for cell in cells(table) if cell.quantity.name == "test_acc")
    assert shown == sorted(float(row["value"]) for row in printed_values(name) if row["quantity"] == "test_acc")


@pytest.mark.parametrize("name", [name for name, needs in NEEDS.items() if needs == "nothing"])
def test_facts_of_the_code_need_nothing(name):
    table = build(find_table(name), [])
    facts = [item for _, row in table.rows for item in row]
    assert facts and all(isinstance(fact, Fact) and fact.text for fact in facts)
    assert table.command is None and "recipe" not in table.protocol


def test_a4_and_a5_are_the_solver_s_and_agree_with_the_papers():
    for name, epochs in (("A4", [80, 70, 60, 60]), ("A5", [90, 80, 60, 50, 50])):
        table = build(find_table(name), [])
        assert [cell.mean for cell in cells(table)] == epochs == [cell.printed for cell in cells(table)]
        assert {cell.n for cell in cells(table)} == {None} and table.command is None


def test_hyper_parameters_are_those_of_the_recipes(tmp_path):
    rows = dict(build(find_table("A3"), []).rows)
    assert [fact.text for fact in rows["Batch size (optim.batch_size)"]] == ["32", "32", "1024"]
    vgg, *_, resnet = (
        fact.text for fact in dict(build(find_table("MG1"), []).rows)["Warmup epochs (optim.warmup_epochs)"]
    )
    assert (vgg, resnet) == ("5", "8")


def test_table_2_of_several_recipes(tmp_path, plant):
    """The baselines' rows are trained under GraSP's recipe, MEST's under its own."""
    plant("T2", cells=[0, 18, 21], seeds=(0,))
    table = build(find_table("T2"), [tmp_path / "runs"])
    found = {place: mean for place, mean in accuracies(table).items() if mean is not None}
    assert found == {
        ("LTH", "90 % accuracy %"): 50,
        ("MEST+EM&S", "90 % accuracy %"): 50 + 1.5 * 18,
        ("SpFDE 15 % + 15 %", "90 % accuracy %"): 50 + 1.5 * 21,
    }
    assert table.paper and table.runs == (3, 90)


def test_one_recipe_for_all_rows(tmp_path, plant):
    """MEST's Table 1 has two data sets; on digits there is one, and its runs are counted once."""
    plant("M1", "recipe=digits", cells=[0, 2], seeds=(0,))
    table = build(find_table("M1"), [tmp_path / "runs"])
    assert table.overrides == ("recipe=digits",) and not table.paper
    assert table.head == ("Method", "digits dense", "digits 90 %", "digits 95 %", "digits 98 %")
    assert accuracies(table)["Dense", "digits dense"] == 50
    assert accuracies(table)["LTH", "digits 90 %"] == 53
    assert table.runs == (2, 28 * 3)


def test_runs_of_another_table_s_recipe_are_none_of_this_one(tmp_path, plant):
    """Table 2's runs, on CIFAR-100, are neither Table A6's nor Table L.1's, on CIFAR-10."""
    plant("T2", cells=[0, 18, 21], seeds=(0,))
    for name in ("A6", "ML1"):
        table = build(find_table(name), [tmp_path / "runs"])
        assert table.paper and table.runs[0] == 0
    table = build(find_table("ML1"), [tmp_path / "runs"], ["recipe=mest_cifar100"])
    assert table.runs[0] == 1 and not table.paper


def test_the_quick_start_is_shown_where_the_paper_s_runs_are_not(tmp_path, plant):
    plant("T2", "recipe=digits", cells=[0], seeds=(0,))
    plant("A6", cells=[18], seeds=(0,))
    assert build(find_table("T2"), [tmp_path / "runs"]).overrides == ("recipe=digits",)
    assert build(find_table("A6"), [tmp_path / "runs"]).paper


def test_a_table_cannot_be_given_what_it_varies():
    with pytest.raises(UserError, match="T2 varies recipe and method and sparsity and freeze and sieve itself"):
        build(find_table("T2"), [], ["method=set"])


def test_noise_is_judged_by_welch_s_test(tmp_path, plant):
    """71.28 ± 0.34 is printed. By hand, for 71.0, 71.1, 71.3: t = -0.7 at 3.1 degrees of freedom, p = 0.5."""
    plant("A1", cells=[5], value=lambda cell, seed: (71.0, 71.1, 71.3)[seed])
    (cell,) = [c for c in cells(build(find_table("A1"), [tmp_path / "runs"])) if c.n and c.quantity.name == "test_acc"]
    assert (cell.printed, cell.printed_deviation) == (71.28, 0.34)
    assert cell.std == pytest.approx(0.1528, abs=1e-4)
    assert cell.p_value == pytest.approx(0.53, abs=0.02) and cell.beyond_noise is False


def test_a_difference_beyond_noise_is_marked(tmp_path, plant):
    plant("A1", cells=[5], value=lambda cell, seed: (65.0, 65.1, 65.3)[seed])
    table = build(find_table("A1"), [tmp_path / "runs"])
    assert "-6.15*" in WRITERS["markdown"](table) and "Welch" in WRITERS["markdown"](table)


def test_without_a_printed_deviation_nothing_is_said_of_noise(tmp_path, plant):
    plant("A8", cells=[0], value=lambda cell, seed: 60.0 + seed)
    (cell,) = [c for c in cells(build(find_table("A8"), [tmp_path / "runs"])) if c.n]
    assert cell.difference == pytest.approx(61 - 73.97) and cell.p_value is None and cell.beyond_noise is None


def timed(tmp_path, plant):
    plant("A11", seeds=(0,))
    frame = load_runs([tmp_path / "runs"])
    frame["epoch_time_mean_s"] = frame["freeze.target"].map(
        {0: 46.94, 0.1: 42.75, 0.15: 40.53, 0.2: 38.10, 0.25: 35.83}
    )
    return frame.assign(host="here", device_name="cpu", threads=1, runs_per_device=1)


def column(table, number):
    return [row[number].mean for _, row in table.rows]


def test_accelerations_follow_from_epoch_times(tmp_path, plant):
    """With the printed seconds, the printed accelerations come out."""
    table = fill(find_table("A11"), timed(tmp_path, plant))
    assert column(table, 2)[1:] == pytest.approx([0.0893, 0.1366, 0.1883, 0.2367], abs=5e-5)
    assert [row[2].printed for _, row in table.rows[1:]] == pytest.approx([0.0893, 0.1366, 0.1883, 0.2367])
    assert column(table, 3)[1] == pytest.approx(0.893, abs=1e-3)  # of the 10 % of FLOPs that are saved
    assert column(table, 3)[0] is None


def test_times_of_packed_runs_and_of_other_devices_do_not_count(tmp_path, plant):
    frame = timed(tmp_path, plant)
    frame.loc[frame["freeze.target"] == 0.1, "runs_per_device"] = 2
    frame.loc[frame["freeze.target"] == 0.2, "host"] = "there"
    table = fill(find_table("A11"), frame)
    assert [value is None for value in column(table, 1)] == [False, True, False, True, False]
    assert any("1 run that shared" in note for note in table.notes)
    assert any("1 run on other devices than host=here device_name=cpu threads=1" in note for note in table.notes)
    assert table.runs == (3, 5)


def test_times_of_another_engine_do_not_count(tmp_path, plant):
    frame = timed(tmp_path, plant)
    assert set(frame["engine"]) == {"dense"}
    frame.loc[frame["freeze.target"] == 0.1, "engine"] = "sparse"
    assert [value is None for value in column(fill(find_table("A11"), frame), 1)] == [False, True, False, False, False]


def test_times_of_runs_beside_others_are_called_rough(tmp_path, plant):
    frame = timed(tmp_path, plant)
    frame["started"] = [100.0 * n for n in range(5)]
    frame["finished"] = frame["started"] + 90
    assert not any("rough" in note for note in fill(find_table("A11"), frame).notes)
    frame.loc[1, "finished"] = frame.loc[2, "started"] + 1
    assert any("rough times: 2 runs" in note for note in fill(find_table("A11"), frame).notes)


def test_accelerations_are_paired_by_seed(tmp_path, plant):
    plant("A11", cells=[0, 1], seeds=(0, 1))
    frame = load_runs([tmp_path / "runs"]).assign(host="here", device_name="cpu", threads=1)
    seconds = {(0, 0): 10.0, (0, 1): 20.0, (0.1, 0): 9.0, (0.1, 1): 16.0}
    frame["epoch_time_mean_s"] = [seconds[run["freeze.target"], run["seed"]] for _, run in frame.iterrows()]
    table = fill(find_table("A11"), frame, ["seed=0,1"])
    acceleration = table.rows[1][1][2]
    assert (acceleration.mean, acceleration.n) == (pytest.approx(0.15), 2)  # 10 and 20 %


def test_seconds_of_another_machine_have_no_difference(tmp_path, plant):
    table = fill(find_table("A11"), timed(tmp_path, plant))
    seconds = table.rows[1][1][1]
    assert seconds.printed == 42.75 and seconds.difference is None


def test_equal_results_of_all_seeds_are_judged_too(tmp_path, plant):
    plant("A1", cells=[5], value=lambda cell, seed: 75.0)
    (cell,) = [c for c in cells(build(find_table("A1"), [tmp_path / "runs"])) if c.n and c.quantity.name == "test_acc"]
    assert cell.std == 0 and cell.beyond_noise is True


def test_a_value_that_is_no_number_empties_its_field_alone(tmp_path, plant):
    plant("A1", cells=[5], seeds=(0,))
    frame = load_runs([tmp_path / "runs"])
    frame["flops_reduction_freeze"] = frame["flops_reduction_freeze"].astype(object)
    for value in ("abc", float("inf")):
        frame.loc[0, "flops_reduction_freeze"] = value
        by_name = {c.quantity.name: c for c in cells(fill(find_table("A1"), frame)) if c.signatures}
        assert by_name["flops_reduction_freeze"].mean is None and by_name["test_acc"].n == 1


def test_two_cells_never_share_a_place(tmp_path):
    wrong = Definition("A8", "nowhere", pivot(system, ratio("freeze.target")))
    with pytest.raises(ValueError, match="same place"):
        build(wrong, [])
