"""The report: its numbers are the tables' own, each leads to its runs, and every page can be read by anyone."""

import json
import os
import re
from itertools import pairwise
from pathlib import Path

import pytest

import analysis.report.items as items_module
from analysis.__main__ import run
from analysis.build import Cell, build
from analysis.figures import figure_ids, find_figure
from analysis.load import load_runs
from analysis.render import WRITERS
from analysis.report.write import FORMATS, write_report
from analysis.tables import find_table, table_ids
from analysis.text import MISSING, difference, printed, shown
from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import load_sweep
from tests.analysis.pages import parse, read

TABLES, FIGURES = ("T1", "T2", "A1", "A8", "A10"), ("MF5a",)
MADE = {}


@pytest.fixture
def few(monkeypatch):
    """Only some tables and figures, which are made in a second or two."""
    monkeypatch.setattr(items_module, "table_ids", lambda: TABLES)
    monkeypatch.setattr(items_module, "figure_ids", lambda: FIGURES)


@pytest.fixture
def site(few, plant, tmp_path_factory):
    """A report, made once, and the folder of its runs: all of A1, two cells of A8, and little else."""
    if not MADE:
        base = tmp_path_factory.mktemp("site")
        off = {(2, seed): 60 + seed / 10 for seed in range(3)}  # 73.49 ± 0.26 is printed for it
        plant("A1", runs=base / "runs", value=lambda cell, seed: off.get((cell, seed), 73 + seed / 10))
        plant("A8", runs=base / "runs", cells=[1, 2], value=lambda cell, seed: 74 + seed / 10)
        plant("MF5a", runs=base / "runs", cells=[3])
        write_report(load_runs([base / "runs"]), base / "report", (), str(base / "runs"))
        MADE.update(report=base / "report", runs=base / "runs")
    return MADE["report"], MADE["runs"]


def pages(folder):
    return {path.name: read(path) for path in sorted(folder.glob("*.html"))}


def test_every_table_and_figure_has_a_page_and_files(site):
    expected = {"index.html", *(f"{name}.html" for name in (*TABLES, *FIGURES))}
    expected |= {f"{name}.{suffix}" for name in TABLES for suffix in FORMATS.values()}
    expected |= {f"{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png", "csv")}
    assert {path.name for path in site[0].iterdir() if not path.name.startswith(".")} == expected
    assert [path.name for path in site[0].parent.iterdir() if path.name.startswith(".")] == []


def test_pages_have_the_structure_that_browsers_and_screen_readers_need(site):
    titles = set()
    for name, page in pages(site[0]).items():
        assert page.attributes["lang"] == "en"
        titles.add(page.one("title").text)
        assert page.one("h1").text and page.one("main").attributes["id"] == "main"
        body = page.one("body")
        assert body.all()[0].attributes == {"class": "skip", "href": "#main"}
        levels = [int(element.tag[1]) for element in page.all("h1", "h2", "h3", "h4")]
        assert all(low <= high + 1 for high, low in pairwise(levels)), name
        assert all(nav.attributes["aria-label"] for nav in page.all("nav"))
        assert all(image.attributes["alt"] for image in page.all("img"))
        ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
        assert len(ids) == len(set(ids)), name
    assert len(titles) == 2 + len(TABLES) + len(FIGURES) - 1 and all(titles)


def test_tables_are_captioned_scoped_and_scroll_in_a_region_with_focus(site):
    for name, page in pages(site[0]).items():
        ids = {element.attributes.get("id") for element in page.all()}
        regions = [element for element in page.all("div") if element.has("region")]
        assert sum(len(region.all("table", "img")) for region in regions) == len(page.all("table", "img")), name
        for region in regions:
            assert (region.attributes["role"], region.attributes["tabindex"]) == ("region", "0")
            assert region.attributes.get("aria-label") or region.attributes["aria-labelledby"] in ids
        for table in page.all("table"):
            assert table.one("caption").text
            assert all(head.text and head.attributes["scope"] for head in table.all("th")), name
            width = {
                sum(int(cell.attributes.get("colspan", 1)) for cell in row.content if not isinstance(cell, str))
                for row in table.all("tr")
            }
            assert len(width) == 1, name


def test_every_link_leads_somewhere_inside_the_folder(site):
    all_pages = pages(site[0])
    for name, page in all_pages.items():
        targets = [e.attributes[key] for e in page.all() for key in ("href", "src") if key in e.attributes]
        for target in targets:
            if target == "data:,":  # no icon
                continue
            file, _, fragment = target.partition("#")
            assert re.fullmatch(r"[\w.]*", file) and (site[0] / (file or name)).is_file(), target
            if fragment:
                linked = all_pages[file or name]
                assert fragment in {element.attributes.get("id") for element in linked.all()}, target


def test_nothing_comes_from_elsewhere(site):
    for path in site[0].glob("*.html"):
        text = path.read_text()
        assert not re.search(r"(?:https?:)?//[\w.]+\.\w|@import|url\(", re.sub(r"^\s*// .*$", "", text, flags=re.M))
        assert "src=" not in re.sub(r'src="\w+\.svg"', "", text)


@pytest.mark.parametrize("name", TABLES)
def test_the_numbers_are_those_of_the_table(site, name):
    table = build(find_table(name), [site[1]])
    page = read(site[0] / f"{name}.html").all("table")[0]
    *_, body = page.all("tbody")
    rows = body.all("tr")
    assert [row.one("th").text for row in rows] == [label for label, _ in table.rows]
    for row, (_, items) in zip(rows, table.rows, strict=True):
        for field, item in zip(row.all("td"), items, strict=True):
            paper, off = printed(item) if table.paper else "", difference(item)
            assert field.part("paper") == (f"paper {paper}" if paper else "")
            assert field.part("off") == (f"difference {off}" if off else "")
            if isinstance(item, Cell):
                assert field.part("missing") == (f"{MISSING}not run" if item.mean is None else "")
                assert field.attributes.get("data-value", "") == ("" if item.mean is None else repr(item.mean))
            rest = field.text.removesuffix(field.part("off")).strip().removesuffix(field.part("paper")).strip()
            assert rest.removesuffix("not run") == " ".join(shown(item).split())


def test_columns_keep_what_they_have_in_common_over_them(site):
    page = read(site[0] / "T2.html").all("table")[0]
    over, below = page.one("thead").all("tr")
    spans = [(head.text, head.attributes["colspan"]) for head in over.all("th")]
    assert spans == [("90 %", "2"), ("95 %", "2"), ("98 %", "2")]
    assert [head.text for head in below.all("th")] == ["Method", *["FLOPs e15", "accuracy %"] * 3]


@pytest.mark.parametrize("name", ["A1", "A8"])
def test_every_number_leads_to_its_runs(site, name):
    table = build(find_table(name), [site[1]])
    page = read(site[0] / f"{name}.html")
    groups = {body.attributes["id"]: body for body in page.all("tbody") if "id" in body.attributes}
    cells = [item for _, row in table.rows for item in row if isinstance(item, Cell)]
    fields = page.all("table")[0].one("tbody").all("td")
    linked = 0
    for field, cell in zip(fields, cells, strict=True):
        links = field.all("a")
        assert len(links) == (1 if cell.n else 0)
        for link in links:
            group = groups[link.attributes["href"].removeprefix("#")]
            assert tuple(code.text for code in group.all("code")) == cell.signatures
            assert all(f"{key}={value}" in group.all("th")[0].text for key, value in cell.settings.items())
            linked += 1
    assert linked == {"A1": 20, "A8": 6}[name]  # A8 shares four cells with A1


def test_a_run_is_told_by_what_its_folder_says(site):
    page = read(site[0] / "A1.html")
    table = next(table for table in page.all("table") if table.has("runs"))
    heads = [head.text for head in table.one("thead").all("th")]
    rows = {row.all("code")[0].text: row for body in table.all("tbody") for row in body.all("tr")[1:]}
    folders = {path.name: path for path in site[1].iterdir() if path.name in rows}
    assert len(folders) == len(rows) == 30
    for name, path in folders.items():
        summary = json.loads((path / "summary.json").read_text())
        told = dict(zip(heads, (cell.text for cell in rows[name].all("th", "td")), strict=True))
        expected = {"signature": name, "seed": str(summary["seed"]), "state": "done", "commit": "0123abc",
                    "lies in": str(site[1]), "accuracy %": f"{summary['test_acc']:g}",
                    "FLOPs reduction %": f"{100 * summary['flops_reduction_freeze']:.6g}"}  # fmt: skip
        assert told == told | expected


def test_coverage_counts_numbers_runs_and_seeds(site):
    rows = {row.all("a")[0].text: row for row in read(site[0] / "index.html").all("tbody")[0].all("tr")}
    assert list(rows) == [*TABLES, *FIGURES]
    fields = {name: [cell.text for cell in row.all("td")] for name, row in rows.items()}
    assert fields["T1"][1:] == ["needs no runs", "", "", "", ""]
    assert fields["A1"][1:4] == ["20 of 20", "30 of 30", "3"]
    assert fields["A8"][1:4] == ["6 of 18", "18 of 54", "3"]
    assert fields["A10"][1:4] == ["0 of 12", "0 of 18", ""]
    assert (fields["A1"][5], fields["A10"][5]) == ("the paper's recipe", "")
    compared = fields["A1"][4].split()
    table = build(find_table("A1"), [site[1]])
    cells = [item for _, row in table.rows for item in row if isinstance(item, Cell) and item.difference is not None]
    assert compared == [str(sum(bool(cell.beyond_noise) for cell in cells)), "of", str(len(cells))]


def test_the_largest_differences_are_at_a_glance(site):
    page = read(site[0] / "index.html")
    accuracies = page.all("table")[1]
    first, *others = ([cell.text for cell in row.all("td")] for row in accuracies.one("tbody").all("tr"))
    assert first[:4] == ["Single-Shot & Resume", "sparsity 60 % accuracy %", "60.10 ± 0.10 (3)", "73.49 ± 0.26"]
    assert first[4:] == ["-13.39*", "-18.22 %", "beyond noise"]
    link = accuracies.one("tbody").all("a")[0]
    assert link.attributes["href"] == "A1.html#r3c2" and link.text == f"A1, {first[0]}, {first[1]}"
    sizes = [abs(float(row[4].rstrip("*"))) for row in others]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 11
    field = next(e for e in read(site[0] / "A1.html").all("td") if e.attributes.get("id") == "r3c2")
    assert field.part("off") == "difference -13.39*" and field.part("beyond")


def test_downloads_are_the_other_formats(site):
    for name in TABLES:
        table = build(find_table(name), [site[1]])
        for kind, suffix in FORMATS.items():
            assert (site[0] / f"{name}.{suffix}").read_text() == WRITERS[kind](table)


def test_what_is_missing_has_its_command(site):
    page = read(site[0] / "A10.html")
    command = next(element.text for element in page.all("pre"))
    assert command == f"python -m spfde_exp -m +sweep=A10 runs_dir={site[1]}"
    assert read(site[0] / "A1.html").all("pre") == []


def test_a_table_whose_rows_are_of_several_kinds_cannot_be_torn_apart(site):
    sortable = {name: "data-sortable" in read(site[0] / f"{name}.html").all("table")[0].attributes for name in TABLES}
    assert sortable == {"T1": True, "T2": True, "A1": True, "A8": True, "A10": False}


def test_a_figure_has_picture_numbers_and_runs(site):
    page = read(site[0] / "MF5a.html")
    assert page.one("img").attributes["src"] == "MF5a.svg"
    numbers, runs = page.all("table")
    (row,) = numbers.one("tbody").all("tr")
    assert row.one("a").text == "54.633 ± 0.15 (3)" and row.one("a").attributes["href"] == "#runs1"
    assert len(runs.one("tbody").all("code")) == 3
    assert find_figure("MF5a").source in page.one("main").text


def test_without_matplotlib_a_figure_has_its_numbers(few, plant, tmp_path, monkeypatch):
    def write(drawn, folder):
        raise UserError("pictures need matplotlib, which is not installed")

    monkeypatch.setattr("analysis.report.figure.write", write)
    monkeypatch.setattr(items_module, "table_ids", list)
    plant("MF5a", cells=[3])
    write_report(load_runs([tmp_path / "runs"]), tmp_path / "report")
    page = read(tmp_path / "report" / "MF5a.html")
    assert "pictures need matplotlib" in page.one("main").text and not page.all("img")
    assert "54.633" in page.text and (tmp_path / "report" / "MF5a.csv").is_file()


def test_a_table_of_several_protocols_says_so_and_stops_nothing(few, plant, tmp_path):
    plant("A10", "recipe=digits", cells=[0])
    plant("A10", "recipe=digits", "epochs=40", cells=[0])
    told = write_report(load_runs([tmp_path / "runs"]), tmp_path / "report")
    assert re.search(r"index.html: 6 tables and figures, 1 not made, \d+ of \d+ numbers from runs$", told)
    page = read(tmp_path / "report" / "A10.html")
    assert "the runs that fit A10 have 2 protocols" in page.one("main").text and not page.all("table")
    assert not (tmp_path / "report" / "A10.csv").exists()
    index = read(tmp_path / "report" / "index.html")
    assert "A10 have 2 protocols" in index.text and (tmp_path / "report" / "A8.csv").exists()


def test_overrides_choose_the_protocol_of_all(few, plant, tmp_path):
    plant("A10", "recipe=digits", cells=[0])
    write_report(load_runs([tmp_path / "runs"]), tmp_path / "report", ["recipe=digits", "seed=0,1"])
    page = read(tmp_path / "report" / "A10.html")
    assert "not the paper's recipe: digits" in page.text and "50.05 ± 0.07 (2)" in page.text
    assert "recipe=digits seed=0,1" in read(tmp_path / "report" / "index.html").text


@pytest.mark.parametrize("words", [["recipe=typo"], ["nokey=1"]])
def test_overrides_that_nothing_understands_are_an_error(few, plant, tmp_path, words):
    with pytest.raises(UserError, match=words[0].split("=")[0]):
        write_report(load_runs([]), tmp_path / "report", words)
    assert list(tmp_path.iterdir()) == []


HOSTILE = "<script>alert(1)</script>&\"'$x_$ {{ 7 * 7 }}<img src=x onerror=alert(2)>"


def test_names_from_outside_are_text_and_nothing_else(few, plant, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path / HOSTILE.replace("/", "\u2215")) + b"\xff"))
    paths = plant("A10", "recipe=digits", runs=folder, cells=[0])
    (folder / "foreign<b>").mkdir()
    meta = paths[0, 0] / "meta.json"
    meta.write_text(json.dumps({"git": {"commit": "<i>1</i>", "dirty": True}, "device_name": "<u>gpu</u>"}))
    write_report(load_runs([folder]), tmp_path / "report", (), str(folder))
    harmless = r"\udcff".join(str(folder).split("\udcff"))
    for page in pages(tmp_path / "report").values():
        assert len(page.all("script")) == 1 and not page.all("b", "i", "u")
        assert all("onerror" not in element.attributes for element in page.all())
    page = read(tmp_path / "report" / "A10.html")
    assert f"{paths[0, 0].name}" in page.text and harmless in page.text
    assert "<i>1</i> and changes" in page.text and "<u>gpu</u>" in page.text
    index = read(tmp_path / "report" / "index.html")
    assert f"{harmless}/foreign<b>" in index.text and harmless in index.one("code").text


def test_one_table_as_a_page_of_its_own(plant, tmp_path, capsys, monkeypatch):
    paths = plant("A10", "recipe=digits", cells=[0])
    monkeypatch.chdir(tmp_path)
    run(["A10", "--format", "html"])
    page = parse(capsys.readouterr().out)
    assert page.one("h1").text == "A10. Freezing, sieving, or both, at similar FLOPs" and not page.all("nav")
    links = [link.attributes["href"] for link in page.all("a")]
    assert links == ["#main", "#runs1", "#runs1"]
    assert page.one("dl").all("div")[0].attributes["id"] == "runs1"
    assert [code.text for code in page.one("dl").all("code")] == [path.name for path in paths.values()]


@pytest.mark.slow
def test_all_of_both_papers_from_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(["all", "--out", "report"])
    names = [*table_ids(), *figure_ids()]
    told = rf"report/index.html: {len(names)} tables and figures, 0 of \d+ numbers from runs\n"
    assert re.fullmatch(told, capsys.readouterr().out)
    for name in names:
        page = read(tmp_path / "report" / f"{name}.html")
        commands = [element.text for element in page.all("pre")]
        assert commands == ([f"python -m spfde_exp -m +sweep={name}"] if load_sweep(name).needs == "runs" else [])
    assert {path.name for path in tmp_path.iterdir()} == {"report"}
