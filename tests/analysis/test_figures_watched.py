"""Curves over epochs: planted rows of hooks stand in the right series, at the right epochs."""

import pandas as pd
import pytest

from analysis.drawing.drawn import draw
from analysis.figures import find_figure
from analysis.load import load_runs
from spfde_exp.store import RunFolder

# ResNet-32's and ResNet-14's layers by the papers' numbers, shortcuts left out
RESNET_32 = {
    "layer 1 of 32": "stem.conv", "layer 3 of 32": "stage1.0.conv2", "layer 10 of 32": "stage1.4.conv1",
    "layer 18 of 32": "stage2.3.conv1", "layer 25 of 32": "stage3.1.conv2", "layer 32 of 32": "classifier",
}  # fmt: skip
SHORTCUT = "stage2.0.shortcut.conv"
SHAPES = {"similarity": "similarity", "cka": "cka", "gradient_norms": "layers"}


def told(hook: str, value):
    """Rows of `hook` in which every layer of RESNET_32 has `value(cell, seed, epoch, number)`, a shortcut nonsense."""

    def row(cell, seed, epoch):
        layers = {name: value(cell, seed, epoch, int(label.split()[1])) for label, name in RESNET_32.items()}
        return {SHAPES[hook]: {SHORTCUT: -1e9, **layers}}

    return row


def drawn_from(name, tmp_path, *arguments) -> tuple[object, pd.DataFrame]:
    drawn = draw(find_figure(name), load_runs([tmp_path / "runs"]), arguments)
    return drawn, drawn.data


def test_one_layer_of_four_sparsities(tmp_path, plant, watch):
    runs = plant("F1b", seeds=(0,))
    watch(runs, "cka", told("cka", lambda cell, seed, epoch, number: number + cell / 10 + epoch / 1000))
    drawn, data = drawn_from("F1b", tmp_path)
    assert drawn.points == (4, 4) and len(data) == 4 * 160
    at_7 = data[data["x"] == 7]
    assert at_7["series"].tolist() == ["dense", "50 %", "80 %", "90 %"]
    assert at_7["y"].tolist() == pytest.approx([10.006, 10.106, 10.206, 10.306])
    assert at_7["n"].tolist() == [1] * 4 and at_7["std"].isna().all()
    assert at_7["signatures"].tolist() == [runs[cell, 0].name for cell in range(4)]
    assert "layers: layer 10 of 32 is stage1.4.conv1" in drawn.caption


def test_five_layers_of_the_same_runs(tmp_path, plant, watch):
    watch(plant("F1b", cells=[0, 2], seeds=(0,)), "cka", told("cka", lambda cell, seed, epoch, number: number + cell))
    drawn, data = drawn_from("FA1", tmp_path)
    assert drawn.points == (10, 20)
    first = data[data["x"] == 1]
    labels = [label for label in RESNET_32 if "10" not in label]
    assert first["panel"].tolist() == [label for label in labels for _ in range(2)]
    assert first["series"].tolist() == ["dense", "80 %"] * 5
    assert first["y"].tolist() == [1, 3, 3, 5, 18, 20, 25, 27, 32, 34]


def test_seeds_have_a_mean_and_a_deviation_epoch_by_epoch(tmp_path, plant, watch):
    runs = plant("F1b", cells=[1], seeds=(0, 1))
    watch(runs, "cka", told("cka", lambda cell, seed, epoch, number: 2.0 * seed))
    _, data = drawn_from("F1b", tmp_path, "seed=0,1")
    assert set(data["y"]) == {1.0} and set(data["std"].round(6)) == {1.414214} and set(data["n"]) == {2}


def test_structural_similarity_is_of_layers_that_have_a_mask(tmp_path, plant, watch):
    (run,) = plant("F1a", seeds=(0,)).items()
    layers = {f"layer {n} of 32": n for n in (2, 9, 16, 24, 31)}
    _, empty = drawn_from("F1a", tmp_path)
    assert empty.empty
    names = {"stage1.0.conv1": 2, "stage1.3.conv2": 9, "stage2.2.conv1": 16, "stage3.1.conv1": 24, "stage3.4.conv2": 31}
    watch(dict([run]), "similarity", lambda cell, seed, epoch: {"similarity": names, "common": {}})
    _, data = drawn_from("F1a", tmp_path)
    assert data.groupby("series", sort=False)["y"].first().to_dict() == layers


def test_gradient_norms_are_drawn_as_changes(tmp_path, plant, watch):
    """|after - before| / before: 0.5 from 2 to 3, and a layer without a number in an epoch has no point there."""
    names = ("stem.conv", "stage1.3.conv2", "stage2.2.conv2", "stage3.1.conv1", "classifier")

    def row(cell, seed, epoch):
        layers = {name: 2.0 + epoch for name in names if name != "classifier" or epoch}
        return {"layers": layers, "blocks": {"nonsense": 1.0}}

    watch(plant("F3b", seeds=(0,)), "gradient_norms", row)
    drawn, data = drawn_from("F3b", tmp_path)
    first = data[data["series"] == "layer 1 of 32"]
    assert first["x"].tolist() == list(range(2, 161)) and first["y"].tolist()[:2] == pytest.approx([1 / 2, 1 / 3])
    assert data[data["series"] == "layer 32 of 32"]["x"].min() == 3
    assert drawn.points == (5, 5)


def counts(cell, seed, epoch):
    """After epoch e, counted from 0: 1000 less e squared; 100 more per cell, 2 more per seed."""
    return {"unforgettable": 1000 + 100 * cell + 2 * seed - epoch**2, "newly_forgotten": -1}


def test_unforgettable_examples_over_training(tmp_path, plant, watch):
    watch(plant("MFF3"), "unforgettable", counts)
    drawn, data = drawn_from("MFF3", tmp_path)
    assert drawn.points == (4, 4) and drawn.command is None
    at_11 = data[data["x"] == 11]
    assert at_11["series"].tolist() == ["Dense", "Static", "MEST+EM", "MEST+EM&S"]
    assert at_11["y"].tolist() == [902, 1002, 1102, 1202] and set(at_11["std"]) == {2.0} and set(at_11["n"]) == {3}


def test_figure_3_of_mest(tmp_path, plant, watch):
    """Cells 10, 16 and 18 are MEST+EM at 90 %, MEST+EM&S at 90 % and dense; (b) tells losses in epochs 50 to 80."""
    runs = plant("MF3", cells=[10, 16, 18], more=lambda cell, seed: {"unforgettable": 100 * cell + seed})
    watch(runs, "unforgettable", counts)
    drawn, data = drawn_from("MF3", tmp_path)
    after = data[data["panel"] == "(a) after training"]
    assert after[["series", "x", "y", "std"]].values.tolist() == [
        ["MEST+EM", 90, 1001, 1], ["MEST+EM&S", 90, 1601, 1],
    ]  # fmt: skip
    between = data[data["panel"] == "(b) from epoch to epoch"]
    assert between["series"].unique().tolist() == ["MEST+EM", "MEST+EM&S", "Dense"]
    one = between[between["series"] == "Dense"]
    assert one["x"].tolist() == list(range(50, 81))
    assert one["y"].tolist() == [2 * x - 3 for x in one["x"]]  # (x - 1)^2 - (x - 2)^2
    places = {series.name: series.place for panel in drawn.panels for series in panel.series}
    assert len(set(places.values())) == len(places) == 5  # a method looks the same in (a) and (b)


def test_on_digits_layers_are_as_deep_and_dense_runs_fit_the_same_protocol(tmp_path, plant, watch):
    runs = plant("F1b", "recipe=digits", seeds=(0,))
    watch(runs, "cka", lambda cell, seed, epoch: {"cka": {"stage1.1.conv2": 0.25 * cell}})
    drawn, data = drawn_from("F1b", tmp_path)
    assert drawn.overrides == ("recipe=digits",) and not drawn.paper
    assert "layer 5 of 14 is stage1.1.conv2" in drawn.caption
    assert data.groupby("series", sort=False)["y"].first().tolist() == [0, 0.25, 0.5, 0.75]


def test_runs_that_were_not_watched_are_none_of_the_figure(tmp_path, plant):
    plant("F1b", "recipe=digits", "hooks.cka=false", seeds=(0,))
    drawn, data = drawn_from("F1b", tmp_path)
    assert drawn.paper and data.empty and "hooks" not in drawn.command


def test_a_run_watched_for_more_serves_every_figure(tmp_path, plant, watch):
    runs = plant("F1b", "recipe=digits", "hooks.gradient_norms=true", cells=[3], seeds=(0,))
    watch(runs, "gradient_norms", lambda cell, seed, epoch: {"layers": {"stem.conv": 2.0**epoch}})
    drawn, data = drawn_from("F3b", tmp_path)
    assert drawn.overrides == ("recipe=digits", "hooks.cka=true") and set(data["y"]) == {1.0}


@pytest.mark.parametrize("lines", [0, 79])
def test_a_file_that_is_not_whole_is_left_out_and_named(lines, tmp_path, plant, watch):
    runs = plant("F1b", "recipe=digits", cells=[0, 1], seeds=(0,))
    watch(runs, "cka", lambda cell, seed, epoch: {"cka": {"stage1.1.conv2": 0.5}})
    file = RunFolder(runs[1, 0]).file("hooks/cka.jsonl")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:lines]) + '{"epoch": 7')
    drawn, data = drawn_from("F1b", tmp_path)
    assert set(data["series"]) == {"dense"} and drawn.points == (1, 4)
    name = runs[1, 0].name
    assert f"left out: run {name}, whose hooks/cka.jsonl is not there, or not whole" in drawn.caption
