"""Every figure of the papers: from nothing at all, and from planted runs, whose means stand at the right places."""

import io
import shlex

import pandas as pd
import pytest

from analysis.convolution import Timing
from analysis.drawing.drawn import COLUMNS, draw
from analysis.figures import figure_ids, find_figure
from analysis.load import load_runs
from analysis.paired import Ratio
from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import expand, load_sweep, sweep_names
from spfde_exp.options import accept_numbers

NEEDS = {name: load_sweep(name).needs for name in figure_ids()}
STD = 0.152753  # of 0, 0.1 and 0.3, which `plant` adds for the seeds 0 to 2


def mean(cell: int, seeds: int = 3) -> float:
    return 50 + 1.5 * cell + (0.4 / 3 if seeds == 3 else 0)


def numbers(drawn) -> pd.DataFrame:
    """The CSV as its readers see it."""
    return pd.read_csv(io.StringIO(drawn.csv), keep_default_na=False, na_values={"y": [""], "std": [""], "n": [""]})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures nothing."""
    timings = [Timing(scheme, 0.9, Ratio(2.0, 1.5, 2.5, 8)) for scheme in ("unstructured", "channel")]
    monkeypatch.setattr("analysis.figures.MF2.measure", lambda: timings)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "MFF2")) for n, needs in NEEDS.items() if needs == "runs"]
)
def test_without_runs_axes_are_drawn_and_a_command_trains_all(name):
    drawn = draw(find_figure(name), load_runs([]))
    sweep = load_sweep(name)
    assert drawn.paper and drawn.runs == (0, len(sweep.cells) * len(sweep.seeds))
    assert drawn.points[0] == 0 < drawn.points[1]
    assert list(drawn.data.columns) == list(COLUMNS) and drawn.data.empty
    svg = drawn.svg.decode()
    assert svg.count("no runs yet</text>") == len(drawn.panels)
    assert svg.count(f"+sweep={name}") == 1 and drawn.command in drawn.caption
    accept_numbers()
    assert len(expand(shlex.split(drawn.command)[4:], None)) == drawn.runs[1]


@pytest.mark.parametrize("name", [name for name, needs in NEEDS.items() if needs != "runs"])
def test_what_needs_no_runs_is_never_empty(name, measured):
    drawn = draw(find_figure(name), load_runs([]))
    assert drawn.points[0] == drawn.points[1] > 0 and drawn.runs == (0, 0) and drawn.command is None
    assert len(drawn.data) and set(drawn.data["signatures"]) == {""}
    assert "no runs yet" not in drawn.svg.decode()


# number of a cell in its sweep file -> panel, series, x: read off the files by hand
PLACES = {
    "MF1": {0: ("", "SNIP", 80), 1: ("", "SNIP", 90), 5: ("", "DeepR, 0.667x", 90), 16: ("", "MEST+EM&S", 80)},
    "MF5a": {
        0: ("", "unstructured", 10), 8: ("", "unstructured", 90), 11: ("", "channel", 10), 33: ("", "pattern", 60),
        39: ("", "DeepR", 90),
    },
    "MF5b": {10: ("", "unstructured", 98), 22: ("", "block", 10), 47: ("", "DSR", 98)},
    "MFE1": {0: ("", "MEST+EM", "0"), 2: ("", "MEST+EM", "0.01"), 4: ("", "MEST+EM", "1")},
    "MFH2": {
        0: ("CIFAR-10, MEST+EM", "unstructured", 10), 54: ("CIFAR-10, MEST+EM&S", "channel", 98),
        131: ("CIFAR-100, MEST+EM&S", "block", 98), 132: ("CIFAR-10, MEST+EM", "pattern", 60),
    },
    "MFH1": {0: ("(a) MEST+EM", "unstructured", 10), 43: ("(b) MEST+EM&S", "unstructured", 98)},
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_planted_means_stand_at_the_right_places(name, tmp_path, plant):
    seeds = load_sweep(name).seeds
    runs = plant(name, cells=PLACES[name], seeds=seeds)
    drawn = draw(find_figure(name), load_runs([tmp_path / "runs"]))
    rows = numbers(drawn)
    found = {(row.panel, row.series, f"{row.x:g}"): row for row in rows.itertuples()}
    expected = {(panel, series, str(x)): cell for cell, (panel, series, x) in PLACES[name].items()}
    assert set(found) == set(expected) and len(rows) == len(expected)
    for place, cell in expected.items():
        row = found[place]
        assert row.y == pytest.approx(mean(cell, len(seeds))) and row.n == len(seeds)
        assert row.signatures.split() == [runs[cell, seed].name for seed in seeds]
        assert (row.std == pytest.approx(STD, abs=1e-6)) if len(seeds) > 1 else pd.isna(row.std)
    assert drawn.points[0] == len(expected) and drawn.runs[0] == len(runs)
    assert f"{drawn.runs[1] - len(runs)} of {drawn.runs[1]} runs are missing" in drawn.caption


def test_references_stand_in_both_panels_of_figure_h1(tmp_path, plant):
    """Cell 78 is DeepR at 90 %; SET's at 90 %, cell 81, is one of the circles besides, which it has no time for."""
    plant("MFH1", cells=[78, 81], seeds=(0,))
    rows = numbers(draw(find_figure("MFH1"), load_runs([tmp_path / "runs"])))
    assert [(row.panel[:3], row.series, row.x) for row in rows.itertuples()] == [
        ("(a)", "DeepR", 90), ("(a)", "SET", 90), ("(b)", "DeepR", 90), ("(b)", "SET", 90),
    ]  # fmt: skip


def test_a_changed_setting_empties_a_point(tmp_path, plant):
    plant("MFE1", cells=[0, 1])
    plant("MFE1", "optim.momentum=0.8", cells=[2])
    drawn = draw(find_figure("MFE1"), load_runs([tmp_path / "runs"]))
    assert [point.x for point in drawn.panels[0].series[0].points] == ["0", "0.001"]
    assert any("3 runs have a cell's settings under another protocol (other optim.momentum)" in n for n in drawn.notes)


def test_digits_are_titled_so_and_equal_panels_are_one(tmp_path, plant):
    plant("MFH2", "recipe=digits", cells=[0], seeds=(0,))
    drawn = draw(find_figure("MFH2"), load_runs([tmp_path / "runs"]), ["recipe=digits", "model.width=0.5"])
    assert [panel.title for panel in drawn.panels] == ["digits, MEST+EM", "digits, MEST+EM&S"]
    assert not drawn.paper and "not the paper's recipe: digits, vgg19 x0.5" in drawn.svg.decode()
    assert drawn.headline.startswith("MFH2. Sparsity schemes with MEST, VGG-19 (MEST Figure H.2), not the paper's")


def test_first_phases_are_compared_with_training_on_all_examples(tmp_path, plant):
    """MF4's cell 0 is dense training on all examples, 1 and 2 are phases of 30 and 50 epochs."""
    values = {0: (93.0, 93.2), 1: (92.0, 92.0), 2: (93.0, 93.1)}
    plant("MF4", cells=values, seeds=(0, 1), value=lambda cell, seed: values[cell][seed])
    (row, other) = numbers(draw(find_figure("MF4"), load_runs([tmp_path / "runs"]))).to_dict("records")
    assert (row["panel"], row["series"], row["x"]) == ("ResNet-32, CIFAR-10, th = 0", "Dense", 30)
    assert (row["y"], row["all_data"], row["similar"]) == (92.0, pytest.approx(93.1), "no")
    assert (other["x"], other["difference"], other["similar"]) == (50, pytest.approx(-0.05), "yes")  # noise is 0.11


def test_a_first_phase_without_training_on_all_examples_is_only_shown(tmp_path, plant):
    plant("MF4", cells=[12], seeds=(0,))  # MEST+EM, unstructured, 90 %, threshold 0, 30 epochs
    drawn = draw(find_figure("MF4"), load_runs([tmp_path / "runs"]))
    (row,) = numbers(drawn).to_dict("records")
    assert (row["series"], row["y"]) == ("MEST+EM, unstructured, 90 %", mean(12, 1)) and "similar" not in row
    assert "(68.0)" in drawn.svg.decode()


def timed(cell: int, seed: int) -> dict[str, float]:
    """Dense training, cell 0, takes 25, 30 and 35 s; SNIP, cell 1, 20 s."""
    flops = {"train_flops": (4e15, 1e15)[cell], "train_flops_dense": 4e15}
    return {"epoch_time_mean_s": (25.0 + 5 * seed, 20.0)[cell], "memory_mest_bytes": (8e6, 2e6)[cell], **flops}


def test_circles_tell_accuracy_acceleration_and_memory(tmp_path, plant):
    plant("MF5c", cells=[0, 1], more=timed)
    frame = load_runs([tmp_path / "runs"]).assign(device="cpu", threads=1, host="here")
    drawn = draw(find_figure("MF5c"), frame)
    rows = numbers(drawn)
    assert rows["panel"].tolist() == ["measured in seconds"] * 2 + ["counted in FLOPs"] * 2
    assert rows["series"].tolist() == ["1  Dense", "2  SNIP"] * 2
    assert rows["x"].tolist() == [1, 1.5, 1, 4] and rows["memory_mb"].tolist() == [8, 2, 8, 2]
    assert drawn.data["seconds"].tolist()[:2] == [30, 20] and drawn.data["seconds_std"].tolist()[:2] == [5, 0]
    assert rows["y"].tolist() == pytest.approx([mean(0), mean(1)] * 2)
    assert drawn.points == (4, 34)


def test_seconds_of_packed_runs_do_not_count_but_their_flops_do(tmp_path, plant):
    plant("MF5c", cells=[0, 1], more=timed)
    frame = load_runs([tmp_path / "runs"]).assign(device="cpu", threads=1, host="here", runs_per_device=2)
    drawn = draw(find_figure("MF5c"), frame)
    assert set(numbers(drawn)["panel"]) == {"counted in FLOPs"}
    assert any("6 runs that shared the device" in note for note in drawn.notes)


def test_memory_of_figure_4_is_the_plans():
    from spfde_exp.config import compose
    from spfde_exp.plan import make_plan

    drawn = draw(find_figure("F4"), load_runs([]))
    bars = {(row.series, row.x): round(row.y * 1e6, 3) for row in numbers(drawn).itertuples()}
    run = ["recipe=cifar100", "sparsity=0.95"]
    fixed = make_plan(compose([*run, "method=static", "freeze=none", "sieve=none"])).prediction()
    ours = make_plan(compose([*run, "freeze=0.2", "sieve=0.2"])).prediction()
    assert bars["DST methods min.", "95 %"] == fixed["memory_min_bytes"] == fixed["memory_avg_bytes"]
    assert bars["SpFDE 20 % + 20 % avg.", "95 %"] == ours["memory_avg_bytes"]
    assert bars["SpFDE 20 % + 20 % min.", "95 %"] == ours["memory_min_bytes"]
    assert len(bars) == 3 * 7 and any("% below DST methods min." in note for note in drawn.notes)
    assert not any("is 0.0 to" in note for note in drawn.notes)  # the fixed mask is not compared with itself


def test_figure_3a_freezes_as_table_a1_tells():
    """Single-shot: from epoch 60 (Table A4), the last of nine blocks moved; resume: ten epochs earlier, up to 150."""
    rows = numbers(draw(find_figure("F3a"), load_runs([])))
    depth = {panel.partition(":")[0]: group["y"].tolist() for panel, group in rows.groupby("panel")}
    assert depth["Single-Shot"][:61] == [0] * 60 + [1] and depth["Single-Shot"][-1] == 9
    assert depth["Single-Shot & Resume"][:150] == depth["Single-Shot"][10:]
    assert depth["Single-Shot & Resume"][150:] == [0] * 10
    assert set(depth["Periodically"]) == {0, 4, 7} and set(depth["Delayed Periodically"][:41]) == {0}


def test_the_measured_figure_says_that_it_is_not_the_paper_s(measured):
    drawn = draw(find_figure("MF2"), load_runs([]))
    assert "Not to be compared with the paper's numbers" in drawn.caption
    assert "masks only simulate" in drawn.caption and "measured on this machine just now" in drawn.caption
    (row, _) = numbers(drawn).to_dict("records")
    assert (row["series"], row["x"], row["y"], row["low"], row["high"], row["n"]) == (
        "unstructured",
        90,
        2,
        1.5,
        2.5,
        8,
    )


def test_what_a_figure_varies_cannot_be_given():
    with pytest.raises(UserError, match=r"MFE1 varies method\.importance_lambda itself"):
        draw(find_figure("MFE1"), load_runs([]), ["method.importance_lambda=1"])


def test_ids_are_those_of_the_sweeps_of_figures():
    assert figure_ids() == [name for name in sweep_names() if name.startswith(("F", "MF"))]
    with pytest.raises(UserError, match="figure 'F9' is unknown; allowed: F1a, F1b"):
        find_figure("F9")
    for name in figure_ids():
        figure = find_figure(name)
        assert figure.id == name and figure.made and figure.source.startswith(("SpFDE Figure", "MEST Figure"))


def test_runs_whose_protocol_cannot_hold_the_figure_leave_it_empty(tmp_path, plant):
    """A first phase of 110 epochs does not fit into the 80 of digits."""
    plant("MF4", "recipe=digits", cells=[0, 11], seeds=(0,))
    drawn = draw(find_figure("MF4"), load_runs([tmp_path / "runs"]))
    assert drawn.paper and drawn.points[0] == 0
