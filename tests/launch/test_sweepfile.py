"""Sweep files name the runs of a table; the command line may replace what they set, and pick a cell."""

import functools
import re
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from spfde_exp.config import compose, signature
from spfde_exp.errors import UserError
from spfde_exp.launch import sweepfile
from spfde_exp.launch.available import unavailable
from spfde_exp.launch.compose import Composer
from spfde_exp.launch.sweepfile import expand, load_sweep, sweep_names
from spfde_exp.options import accept_numbers, folder

# Cells of each table and figure, counted in the papers: rows x columns of values, and single values.
CELLS = {
    "T1": 0,
    "T2": 10 * 3,
    "T3": 13,
    "A1": 5 * 2,
    "A2": 3 * 4,
    "A3": 0,
    "A4": 4,
    "A5": 5,
    "A6": 10 * 3,
    "A7": 15,
    "A8": 2 * 9,
    "A9": 2 * 9,
    "A10": 2 * 3,
    "A11": 5,
    "A12": 5,
    "M1": 9 * 6 + 2,
    "M2": 17 * 2 + 1,
    "MA1": 5,
    "MG1": 0,
    "MH1": 9 * 6 + 2,
    "MH2": 8 * 4 + 1,
    "MI1": 3 * 6,
    "MI2": 3 * 6,
    "MK1": 2 * 5 + 1,
    "ML1": 3,
    # figures: lines x points, where the text gives them
    "F1a": 1,
    "F1b": 4,
    "F3a": 4,
    "F3b": 1,
    "F4": 3 * 4,
    "FA1": 4,
    "MF1": 9 * 2,
    "MF2": 0,
    "MF3": 3 * 6 + 2,
    "MF4": (1 + 2 * 3 * 2) * (1 + 2 * 5),
    "MF5a": 3 * 11 + 6 + 3 * 3,
    "MF5b": 3 * 11 + 6 + 3 * 3,
    "MF5c": 1 + 4 + 2 * 3 * 2,
    "MFE1": 5,
    "MFF2": 3 * (1 + 2 * 3 * 2) * (1 + 2 * 5),
    "MFF3": 4,
    "MFH1": 2 * (3 * 11 + 6) + 3 * 3 + 2 + 1 + 2 * 3,
    "MFH2": 2 * 2 * (3 * 11 + 6),
}
OWN = {"cifar10_short", "digits", "digits_lth", "digits_methods", "models_short"}
PLANS = {"A4", "A5", "F3a", "F4", "MA1", "MI2"}
NOTHING = {"T1", "A3", "MG1", "MF2"}
ONE_RUN = {"T3", "A7", "A11", "A12", "F1a", "F1b", "F3b", "FA1", "M2", "MF1", "MH2"}  # the papers tell no number


@pytest.fixture(autouse=True)
def numbers():
    accept_numbers()


@functools.cache
def run_of(cell: frozenset[tuple[str, str]]) -> str:
    return signature(composer().config([f"{key}={value}" for key, value in sorted(cell)]))


@functools.cache
def composer() -> Composer:
    """As the launcher composes, which tests/launch/test_compose.py holds equal to Hydra: a tenth of the time."""
    accept_numbers()
    loader = ConfigLoaderImpl(create_config_search_path(str(folder("conf"))))
    return Composer(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))


def cells(name: str, **wanted: str) -> list[frozenset[tuple[str, str]]]:
    """Settings of the cells of a sweep, those that have all of `wanted`."""
    sweep = load_sweep(name)
    full = [sweep.base | cell for cell in sweep.cells]
    return [frozenset(cell.items()) for cell in full if wanted.items() <= cell.items()]


def runs(name: str, **wanted: str) -> list[str]:
    return [run_of(cell) for cell in cells(name, **wanted)]


def available_cells(name: str) -> list[frozenset[tuple[str, str]]]:
    file = f"+sweep=[{name}]"
    return [cell for cell in cells(name) if not unavailable([*(f"{k}={v}" for k, v in cell), file], None)]


def test_there_is_a_file_for_every_table_and_figure():
    assert set(sweep_names()) == CELLS.keys() | OWN


@pytest.mark.parametrize("name", CELLS)
def test_size_and_needs(name):
    sweep = load_sweep(name)
    seeds = {"plans": 1, "nothing": 0}.get(sweep.needs, 1 if name in ONE_RUN else 3)
    assert (sweep.id, len(sweep.cells), len(sweep.seeds)) == (name, CELLS[name], seeds)
    assert len(sweep.runs()) == len(sweep.cells) * seeds
    assert sweep.needs == ("plans" if name in PLANS else "nothing" if name in NOTHING else "runs")


def test_ids_are_listed_in_the_order_of_their_numbers():
    names = sweep_names()
    assert names.index("A2") < names.index("A10") < names.index("F1a") < names.index("T3")


def test_every_setting_is_an_override_that_hydra_reads():
    words = {f"{key}={value}" for name in sweep_names() for cell in cells(name) for key, value in cell}
    read = OverridesParser.create().parse_overrides(sorted(words))
    assert [override.input_line for override in read if override.is_sweep_override()] == []


@pytest.mark.parametrize("name", [name for name in sweep_names() if available_cells(name)])
def test_the_first_and_the_last_cell_that_this_version_has_resolve(name):
    found = available_cells(name)
    for cell in {found[0], found[-1]}:
        assert len(run_of(cell)) == 16


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in sweep_names() if available_cells(name)])
def test_every_cell_that_this_version_has_is_a_run_of_its_own(name):
    names = [run_of(cell) for cell in available_cells(name)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("T2", ["0.15", "0.2", "0.25"]),
        ("T3", ["0.2", "0.15", "0.1"]),
        ("A2", ["0.15", "0.2", "0.25"]),
        ("A6", ["0.1", "0.15", "0.2"]),
        ("A7", ["0.22", "0.15", "0.1", "0.075"]),
    ],
)
def test_spfde_saves_what_the_tables_say(name, shares):
    pairs = [(cell["freeze"], cell["sieve"]) for cell in load_sweep(name).cells if cell.get("freeze", "none") != "none"]
    assert list(dict.fromkeys(pairs)) == [(share, share) for share in shares]


def test_update_ratio_of_30_percent_is_table_2():
    spfde = [cell for cell in cells("T2", sparsity="0.9") if ("freeze", "none") not in cell]
    assert runs("A2", **{"sieve.update_ratio": "0.3"}) == [run_of(cell) for cell in spfde]


def test_tables_share_the_cells_in_which_they_coincide():
    for sparsity in ("0.6", "0.9"):
        plain = {*runs("A8", sparsity=sparsity, freeze="none"), *runs("A9", sparsity=sparsity, sieve="none")}
        assert {*runs("A1", sparsity=sparsity, freeze="none")} == plain and len(plain) == 1
        assert runs("A1", sparsity=sparsity, freeze="0.2") == runs("A8", sparsity=sparsity, freeze="0.2")
    freezing, sieving = runs("A8", sparsity="0.9"), runs("A9", sparsity="0.9")
    assert runs("A11") == freezing[:5] and runs("A12") == sieving[:5]
    assert runs("A4") == freezing[1:5]
    both, frozen, sieved, *_ = runs("A10")
    assert both in runs("T2", freeze="0.15") and both in runs("A2", freeze="0.15")
    assert frozen in freezing and sieved in sieving
    assert set(runs("F4", freeze="0.25")) == set(runs("T2", freeze="0.25"))


@pytest.mark.parametrize(
    ("name", "other", "shared"),
    [
        ("T2", "M1", 7 * 3),  # six baselines and MEST
        ("A6", "M1", 7 * 3),
        ("T3", "M2", 5 + 1),  # DeepR to RigL, and MEST; SNIP and GraSP are other runs of these
        ("A7", "M2", 5 + 2),
        ("F1b", "FA1", 4),
        ("MF1", "M2", 18),
        ("MI2", "MI1", 18),
        ("MFF3", "MF3", 4),
        ("MF5a", "M1", 3 * 3),
        ("ML1", "M1", 2),
    ],
)
def test_tables_of_both_papers_share_what_was_carried_over(name, other, shared):
    assert len(set(cells(name)) & set(cells(other))) == shared


def test_an_unknown_sweep_lists_the_known():
    with pytest.raises(UserError, match="sweep 'A0' is unknown; allowed: A1, A2, .*, A10, .*, cifar10_short, digits"):
        load_sweep("A0")


def test_without_a_sweep_file_there_is_the_grid_of_the_command_line():
    assert expand(["seed=0,1", "freeze=0.2"], None) == [["seed=0", "freeze=0.2"], ["seed=1", "freeze=0.2"]]
    assert expand([], None) == [[]]


def test_the_command_line_replaces_what_the_file_sets():
    jobs = expand(["+sweep=A8", "recipe=digits", "seed=0"], None)
    assert len(jobs) == 18
    assert all("recipe=digits" in job and "recipe=cifar100" not in job and "seed=0" in job for job in jobs)


def test_what_the_command_line_makes_equal_runs_once():
    assert len(expand(["+sweep=M1", "seed=0"], None)) == 56
    assert len(expand(["+sweep=M1", "seed=0", "recipe=digits"], None)) == 28  # two data sets become one


def test_settings_of_the_command_line_choose_a_cell():
    jobs = expand(["+sweep=A8", "sparsity=0.9", "freeze=0.15", "seed=1"], None)
    assert [set(job) for job in jobs] == [
        {"recipe=cifar100", "method=mest_ems", "sieve=none", "sparsity=0.9", "freeze=0.15", "seed=1", "+sweep=[A8]"}
    ]


@pytest.mark.parametrize("argument", ["+sweep=A8,A9", "+sweep=[A8,A9]"])
def test_several_files_unite_and_share_runs(argument):
    jobs = expand([argument, "sparsity=0.9"], None)
    assert len(jobs) == 51  # 17 settings: no freezing and no sieving is in both
    assert [set(job) & {"freeze=none", "sieve=none"} for job in jobs if "+sweep=[A8,A9]" in job] == [
        {"freeze=none", "sieve=none"}
    ] * 3


def test_sweeps_of_the_command_line_multiply_the_cells():
    assert len(expand(["+sweep=A10", "optim.lr=0.1,0.2"], None)) == 36


@pytest.mark.parametrize(
    ("argument", "freezes"),
    [
        ("+cell=3", ["single_shot_resume"]),
        ("+cell=1,4", ["none", "periodic"]),
        ("+cell=[4,1]", ["periodic", "none"]),
        ("+cell=range(1,3)", ["none", "0.2"]),
        ("+cell=2,2", ["0.2"]),
    ],
)
def test_cells_are_picked_by_their_number(argument, freezes):
    jobs = expand(["+sweep=A1", argument, "seed=0"], None)
    sweep = load_sweep("A1")
    assert [list(sweep.cells[n].values()) for n in range(4)] == [
        ["0.6", "none"],
        ["0.6", "0.2"],
        ["0.6", "single_shot_resume"],
        ["0.6", "periodic"],
    ]
    assert [word.removeprefix("freeze=") for job in jobs for word in job if word.startswith("freeze=")] == freezes
    assert all("sparsity=0.6" in job and not any("cell" in word for word in job) for job in jobs)


def test_a_picked_cell_keeps_its_seeds_and_takes_other_overrides():
    jobs = expand(["+sweep=A8", "+cell=18", "recipe=digits"], None)
    assert [sorted(job)[-2:] for job in jobs] == [["sieve=none", "sparsity=0.9"]] * 3
    assert [f"seed={seed}" in job for seed, job in enumerate(jobs)] == [True] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+cell=1"], r"\+cell=1 picks from one sweep file; there is no \+sweep="),
        (["+sweep=A1,A8", "+cell=1"], r"\+cell=1 picks from one sweep file; \+sweep=A1,A8 names 2"),
        (["+sweep=A1", "+cell=11"], r"\+cell=11 is impossible; cells of A1: 1 to 10"),
        (["+sweep=A1", "+cell=0"], "1 to 10"),
        (["+sweep=A1", "+cell=1,11"], "1 to 10"),
        (["+sweep=A1", "+cell=[]"], "1 to 10"),
        (["+sweep=A1", "+cell=none"], "1 to 10"),
    ],
)
def test_a_cell_that_cannot_be_picked_is_refused(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        expand(arguments, None)
    assert "\n" not in str(error.value)


def test_nothing_is_trained_where_plans_are_enough():
    with pytest.raises(UserError, match=r"A4 .* needs plans only, and nothing is trained for it; add dry_run=true"):
        expand(["+sweep=A8,A4"], None)
    with pytest.raises(UserError, match="needs plans only"):
        expand(["+sweep=A4", "dry_run=false"], None)
    assert len(expand(["+sweep=A4", "dry_run=true"], None)) == 4
    assert len(expand(["+sweep=A4", "dry_run=json"], None)) == 4


def test_a_table_that_needs_nothing_says_so():
    with pytest.raises(UserError, match=r"\+sweep=A3: A3 \(.*\) needs no runs; leave it out"):
        expand(["+sweep=A1,A3", "dry_run=true"], None)


def test_a_run_knows_the_files_that_asked_for_it():
    assert compose(["+sweep=[A8,A9]"]).sweep == ["A8", "A9"]
    assert compose([]).sweep is None


def page() -> str:
    return (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")


def test_the_page_says_what_every_file_needs():
    told = {name: said for name, *said in re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", page(), re.MULTILINE)}
    for name in sweep_names():
        sweep = load_sweep(name)
        cells, seeds = len(sweep.cells), len(sweep.seeds)
        needs = {
            "runs": f"{cells} \N{MULTIPLICATION SIGN} {seeds} runs",
            "plans": f"{cells} plans",
            "nothing": "nothing",
        }
        assert told.pop(name) == [sweep.title, needs[sweep.needs]]
    assert not told


def test_the_example_of_the_page_is_numbered_as_it_says(tmp_path, monkeypatch):
    (example,) = re.findall(r"```yaml\n(.*?)```", page(), re.DOTALL)
    write(tmp_path, example, monkeypatch)
    sparsities = [cell["sparsity"] for cell in load_sweep("E1").cells]
    assert sparsities == ["dense", "0.9", "0.9", "0.95", "0.95"]


HEAD = "id: E1\ntitle: An example\n"
RUNS = HEAD + "seeds: [0]\n"


def write(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "E1.yaml").write_text(text)
    monkeypatch.setattr(sweepfile, "folder", lambda _: folder)


def test_parts_and_axes_of_several_settings(tmp_path, monkeypatch):
    text = """
    base: {recipe: cifar10, freeze: none}
    parts:
      - cells: [{method: dense, sparsity: dense}]
      - base: {recipe: cifar100}
        grid:
          data: [{sieve: none}, {sieve: 0.2, sieve.every: 10, freeze: 0.1}]
          sparsity: [0.9, 0.95]
    """
    write(tmp_path, RUNS + "\n".join(line[4:] for line in text.splitlines()), monkeypatch)
    sweep = load_sweep("E1")
    assert sweep.base == {"recipe": "cifar10", "freeze": "none"}
    easy = {"recipe": "cifar100", "sieve": "0.2", "sieve.every": "10", "freeze": "0.1"}
    assert list(sweep.cells) == [
        {"method": "dense", "sparsity": "dense"},
        {"recipe": "cifar100", "sieve": "none", "sparsity": "0.9"},
        {"recipe": "cifar100", "sieve": "none", "sparsity": "0.95"},
        easy | {"sparsity": "0.9"},
        easy | {"sparsity": "0.95"},
    ]
    assert sweep.runs()[-1] == easy | {"sparsity": "0.95", "seed": "0"}


def test_values_are_spelled_as_hydra_reads_them(tmp_path, monkeypatch):
    write(tmp_path, RUNS + "cells: [{a: true, b: null, c: [1, x], d: {3x3: 0.95}, e: 5e-4, f: '007'}]", monkeypatch)
    (cell,) = load_sweep("E1").cells
    assert cell == {"a": "true", "b": "null", "c": "[1,x]", "d": "{3x3:0.95}", "e": "0.0005", "f": "007"}
    read = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in cell.items()])
    assert [override.value() for override in read[:5]] == [True, None, [1, "x"], {"3x3": 0.95}, 0.0005]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "id is None; it has to be the file's name, E1"),
        ("- id: E1", "it has to hold id, title"),
        ("just words", "E1.yaml is malformed"),
        ("id: [E1", "E1.yaml is malformed"),
        ("id: E2\ntitle: x", "id is E2; it has to be the file's name, E1"),
        ("id: E1\nseeds: [0]\ncells: [{a: 1}]", "title has to be a text"),
        (HEAD + "cells: [{a: 1}]", r"seeds is None; it takes a list of whole numbers"),
        (HEAD + "seeds: 3\ncells: [{a: 1}]", "seeds is 3"),
        (HEAD + "seeds: [0, 0]\ncells: [{a: 1}]", "each may come once"),
        (HEAD + "seeds: [-1]\ncells: [{a: 1}]", "whole numbers from 0"),
        (HEAD + "seeds: [true]\ncells: [{a: 1}]", "whole numbers from 0"),
        (RUNS, "one of cells, grid and parts"),
        (RUNS + "cells: [{a: 1}]\ngrid: {b: [1]}", "one of cells, grid and parts"),
        (RUNS + "cells: [{a: 1}]\nparts: [{cells: [{b: 1}]}]", "one of cells, grid and parts"),
        (RUNS + "cells: []", "cells takes a list of settings"),
        (RUNS + "cells: {a: 1}", "cells takes a list of settings"),
        (RUNS + "cells: [0.9]", r"a cell takes settings, such as \{sparsity: 0.9"),
        (RUNS + "cells: [{0.9: 1}]", "a cell takes settings"),
        (RUNS + "cells: [{a: 1, a: 2}]", "duplicate key"),
        (RUNS + "cells: [{a: 1}, {b: 2}, {a: 1}]", "cell 3 repeats cell 1"),
        (RUNS + "cells: [{seed: 1}]", "a cell sets seed"),
        (RUNS + "base: {sweep: A1}\ncells: [{a: 1}]", "base sets sweep"),
        (RUNS + "base: cifar10\ncells: [{a: 1}]", "base takes settings"),
        (RUNS + "grid: {a: 1}", "grid.a takes a list of values"),
        (RUNS + "grid: {a: []}", "grid.a takes a list of values"),
        (RUNS + "grid: [a]", "grid takes a mapping"),
        (RUNS + "parts: []", "parts takes a list"),
        (RUNS + "parts: [x]", "a part takes a mapping"),
        (RUNS + "parts: [{base: {a: 1}}]", "a part takes one of cells and grid"),
        (RUNS + "parts: [{cells: [{a: 1}], seeds: [1]}]", "a part has the unknown key seeds; allowed: base, cells"),
        (RUNS + "cell: [{a: 1}]", "the file has the unknown key cell; allowed: id, title"),
        (RUNS + "needs: plan\ncells: [{a: 1}]", "needs is plan; allowed: runs, plans, nothing"),
        (RUNS + "needs: nothing", "has id, title and needs only"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(tmp_path, monkeypatch, text, message):
    write(tmp_path, text, monkeypatch)
    with pytest.raises(UserError, match=message) as error:
        load_sweep("E1")
    assert "E1.yaml" in str(error.value) and "\n" not in str(error.value)


def test_a_cell_on_the_command_line(run_cli, tmp_path):
    picked = run_cli("-m", "+sweep=A8", "+cell=2", "recipe=digits", "seed=0", "dry_run=json", cwd=tmp_path)
    assert picked.returncode == 0 and picked.stdout.count('"signature"') == 1, picked.stderr
    refused = run_cli("-m", "+sweep=A4", cwd=tmp_path)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
