"""Pictures and files of figures: well-formed, the same every time, told apart without colour, read without eyes."""

import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.__main__ import run
from analysis.drawing import shapes, style
from analysis.drawing.drawn import draw
from analysis.drawing.panel import Panel, Point, Series
from analysis.drawing.picture import canvas, picture
from analysis.figures import find_figure
from analysis.load import load_runs
from spfde_exp.errors import UserError

matplotlib = pytest.importorskip("matplotlib")
SVG = "{http://www.w3.org/2000/svg}"


def series(number: int, name: str = "") -> Series:
    points = tuple(Point(float(x), y=number + x, std=0.5, n=3) for x in range(4))
    return Series(name or f"series {number}", points, number)


def svg_of(*panels: Panel, name: str = "X", columns: int = 2) -> bytes:
    return picture(name, ("A <title>", ""), "What & how.", panels, columns, None, "svg")


def texts(svg: bytes) -> list[str]:
    return [part.text or "" for part in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ["F3a", "F4", "MF1"])
def test_svg_is_well_formed_and_tells_what_it_is_without_being_seen(name, tmp_path, plant):
    if name == "MF1":
        plant(name, cells=[0, 1], seeds=(0,))
    drawn = draw(find_figure(name), load_runs([tmp_path / "runs"] if name == "MF1" else []))
    root = ElementTree.fromstring(drawn.svg)
    assert root.get("role") == "img" and root.get("aria-labelledby") == f"{name}-title {name}-desc"
    told = {part.get("id"): part.text for part in root if part.tag in (f"{SVG}title", f"{SVG}desc")}
    assert told[f"{name}-title"] == drawn.title
    assert drawn.headline in told[f"{name}-desc"] and f"{name}.csv" in told[f"{name}-desc"]
    for panel in drawn.panels:
        assert panel.y in told[f"{name}-desc"]


def test_the_same_numbers_give_the_same_bytes_and_no_date():
    frame = load_runs([])
    one, other = (draw(find_figure("F4"), frame) for _ in range(2))
    assert one.svg == other.svg and one.png == other.png and one.csv == other.csv
    assert b"<dc:date>" not in one.svg and one.png.startswith(b"\x89PNG")


def test_text_stays_text_and_is_escaped():
    svg = svg_of(Panel("a < b", "x & y", "z", (series(0), series(1)), shapes.lines, (8, 8)))
    assert {"a < b", "x & y", "z", "series 0", "series 1", "A <title>"} <= set(texts(svg))


def test_matplotlib_is_left_as_it_was():
    before = dict(matplotlib.rcParams)
    svg_of(Panel("", "x", "y", (series(0),), shapes.lines, (4, 4)))
    assert dict(matplotlib.rcParams) == before


def test_pictures_need_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"pictures need matplotlib.*pip install 'spfde_exp\[figures\]'"):
        svg_of(Panel("", "x", "y", (series(0),), shapes.lines, (4, 4)))


def test_ten_series_differ_in_marker_and_all_in_colour_and_dashes():
    looks = [style.line(place) for place in range(10)]
    assert len({look["marker"] for look in looks}) == 10
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == 10
    bars = [style.bar(place) for place in range(7)]
    assert len({bar["color"] for bar in bars}) == len({bar["hatch"] for bar in bars}) == 7


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_line_can_be_seen_on_white():
    assert min(1.05 / (luminance(colour) + 0.05) for colour in style.COLOURS) > 2


def test_a_series_looks_the_same_whatever_else_there_is():
    """The colour of the second series, with and without points in the first."""
    empty = Series("series 0", (), 0)
    for first in (series(0), empty):
        svg = svg_of(Panel("", "x", "y", (first, series(1)), shapes.lines, (4, 8))).decode()
        assert style.COLOURS[1] in svg and (style.COLOURS[0] in svg) == bool(first.points)


def test_one_legend_for_all_panels_and_labels_said_once():
    panels = [Panel(f"panel {n}", "x", "y", (series(0), series(1)), shapes.curves, (8, 8)) for n in range(4)]
    found = texts(svg_of(*panels))
    assert found.count("series 0") == found.count("series 1") == 1
    assert found.count("x") == 2 and found.count("y") == 2


def test_a_panel_without_points_says_so_beside_one_with():
    panels = [Panel("", "x", "y", (one,), shapes.lines, (0, 4)) for one in (series(0), Series("none", (), 1))]
    assert texts(svg_of(*panels)).count("no runs yet") == 1


def test_categories_are_evenly_spaced_in_their_order():
    points = tuple(Point(name, 1.0) for name in ("0", "0.01", "1"))
    panel = Panel("", "λ", "y", (Series("one", points, 0),), shapes.ordered, (3, 3))
    with canvas(4, 3, {}) as figure:
        axes = figure.add_subplot()
        panel.draw(axes, panel)
        assert list(axes.get_xticks()) == [0, 1, 2]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.01", "1"]


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20), st.floats(0.1, 10))
def test_labels_are_moved_apart_as_little_as_needed(values, least):
    values = sorted(values)
    moved = shapes.spaced(values, least)
    assert all(after - before >= least - 1e-9 for before, after in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(values), abs=1e-6)  # as much up as down
    if all(after - before >= least for before, after in pairwise(values)):
        assert moved == pytest.approx(values)


def test_labels_of_circles_that_lie_on_each_other_can_be_read():
    points = [Series(f"{n}  system", (Point(1.0, 90.0, more={"size": 1.0}),), n) for n in range(8)]
    with canvas(3.5, 3.2, {}) as figure:
        axes = figure.add_subplot()
        axes.set(xlim=(0, 2), ylim=(80, 100))
        places = shapes.apart(axes, (3.5, 3.2), [(1.0, 90.0)] * len(points))
    heights = sorted(height for _, height in places)
    inch = (3.2 - 0.8) / 20
    assert all((after - before) * inch >= 0.99 * shapes.LABEL for before, after in pairwise(heights))
    assert {across for across, _ in places} == {places[0][0]} and places[0][0] > 1


def test_the_command_writes_three_files_and_prints_the_caption(tmp_path, plant, capsys, monkeypatch):
    plant("MFE1", "recipe=digits", cells=[0, 2])
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    run(["MFE1", "--out", "out"])
    told = capsys.readouterr()
    assert sorted(path.name for path in Path("out").iterdir()) == ["MFE1.csv", "MFE1.png", "MFE1.svg"]
    assert told.out.startswith("### MFE1. Weight of the gradient in the importance (MEST Figure E.1), not the paper's")
    assert "- Drawn: 2 of 5 points or curves, from 6 of 15 runs." in told.out
    assert told.out.endswith(
        "    python -m spfde_exp -m +sweep=MFE1 recipe=digits method.importance_lambda=0.001,0.1,1\n"
    )
    assert told.err == "written: out/MFE1.svg, out/MFE1.png, out/MFE1.csv\n"
    run(["MFE1", "recipe=digits", "seed=0"])
    assert Path("MFE1.csv").read_text().count("\n") == 3
