"""A sweep file may name what this version does not have yet: its cells are told by name, not as a mistake."""

import subprocess
import sys

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from spfde_exp.launch import available, sweepfile
from spfde_exp.launch.available import unavailable
from spfde_exp.launch.sweepfile import expand, load_sweep, sweep_names
from spfde_exp.options import accept_numbers, folder


@pytest.fixture(autouse=True)
def numbers():
    accept_numbers()


@pytest.fixture
def sweeps(tmp_path, monkeypatch):
    """A folder with one sweep file, E1, that names much that is in no version."""
    (tmp_path / "E1.yaml").write_text("""
id: E1
title: Settings of which some do not exist
base: {recipe: cifar10, method: best, sparsity.distribution: even, method.delta: 3}
seeds: [0]
cells:
  - {sparsity: 0.93, freeze: none, sparsity.prunable: block_3x3, effort: 0.5}
  - {sparsity: 1.5, freeze: sometimes, sparsity.prunable: all, efort: 0.5}
""")
    for module in (available, sweepfile):
        monkeypatch.setattr(module, "folder", lambda name: tmp_path if name == "sweeps" else folder(name))


def test_options_values_and_keys_that_do_not_exist_are_named(sweeps):
    first, second = expand(["+sweep=E1"], None)
    shared = ["method=best", "sparsity.distribution=even", "method.delta=3"]
    assert unavailable(first, None) == shared
    assert unavailable(second, None) == [
        *shared,
        "sparsity=1.5",
        "freeze=sometimes",
        "sparsity.prunable=all",
        "efort=0.5",
    ]


def test_what_the_user_replaces_is_no_longer_missing(sweeps):
    jobs = expand(["+sweep=E1", "method=mest_em", "sparsity.distribution=uniform"], None)
    assert unavailable(jobs[0], None) == ["method.delta=3"]


def test_a_typo_of_the_user_stays_an_error(sweeps):
    (job,) = expand(["+sweep=E1", "+cell=1", "method=mest_emm", "freeze=non", "optim.lrr=1"], None)
    assert unavailable(job, None) == ["sparsity.distribution=even", "method.delta=3"]
    assert unavailable(["method=best", "freeze=non"], None) == []


def test_jobs_of_several_files_are_judged_by_all_of_them(sweeps):
    (job,) = expand(["+sweep=E1", "+cell=1"], None)
    assert unavailable([*job[:-1], "+sweep=[E1,E1]"], None) == unavailable(job, None)


def test_the_user_s_own_options_count(sweeps, tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "best.yaml").write_text("name: mest\n")
    job = expand(["+sweep=E1"], None)[0]
    with initialize_config_dir(config_dir=str(folder("conf")), version_base="1.3"):
        plain = GlobalHydra.instance().config_loader()
        assert "method=best" in unavailable(job, plain)
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(tmp_path), version_base="1.3"):
        assert "method=best" not in unavailable(job, GlobalHydra.instance().config_loader())


@pytest.mark.parametrize("name", sweep_names())
def test_every_cell_of_every_sweep_file_exists(name):
    sweep = load_sweep(name)
    for cell in sweep.cells:
        job = [f"{key}={value}" for key, value in (sweep.base | cell).items()]
        assert unavailable([*job, f"+sweep=[{name}]"], None) == []


def test_cells_of_the_first_version_stay_available():
    names = {"A2": 12, "A4": 4, "A8": 18, "A9": 18, "A10": 6, "A11": 5, "A12": 5, "F4": 12, "digits": 3}
    for name, count in names.items():
        jobs = expand([f"+sweep={name}", "seed=0", "dry_run=true"], None)
        assert [unavailable(job, None) for job in jobs] == [[]] * count


def test_a_thousand_jobs_read_each_file_once(opened):
    jobs = expand(["+sweep=MFF2"], None)
    with initialize_config_dir(config_dir=str(folder("conf")), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        with opened() as paths:
            for job in jobs:
                unavailable(job, loader)
    assert len(jobs) > 1000
    assert 0 < len(paths) < 100


def test_torch_is_not_needed():
    call = "from spfde_exp.launch.available import unavailable; unavailable(['method=lth', '+sweep=[T2]'], None)"
    code = f"import sys; {call}; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
