"""Sweep files name the runs of a table; the command line may replace what they set."""

import pytest

from spfde_exp.config import compose, signature
from spfde_exp.errors import UserError
from spfde_exp.launch.sweepfile import expand, load_sweep, sweep_names
from spfde_exp.options import accept_numbers


@pytest.fixture(autouse=True)
def numbers():
    accept_numbers()


@pytest.mark.parametrize(("name", "cells"), [("A8", 18), ("A9", 18), ("A10", 6)])
def test_size_of_the_tables(name, cells):
    sweep = load_sweep(name)
    assert len(sweep.cells) == cells
    assert len(sweep.runs()) == 3 * cells
    assert sweep.id == name


def test_every_run_of_every_sweep_composes_to_a_run_of_its_own():
    for name in sweep_names():
        sweep = load_sweep(name)
        cells = [sweep.base | cell for cell in sweep.cells]
        names = [signature(compose([f"{k}={v}" for k, v in cell.items()])) for cell in cells]
        assert len(set(names)) == len(names)


def test_an_unknown_sweep_lists_the_known():
    with pytest.raises(UserError, match="allowed: A10, A8, A9, cifar10_short, digits"):
        load_sweep("A0")


def test_without_a_sweep_file_there_is_the_grid_of_the_command_line():
    assert expand(["seed=0,1", "freeze=0.2"], None) == [["seed=0", "freeze=0.2"], ["seed=1", "freeze=0.2"]]
    assert expand([], None) == [[]]


def test_the_command_line_replaces_what_the_file_sets():
    jobs = expand(["+sweep=A8", "recipe=digits", "seed=0"], None)
    assert len(jobs) == 18
    assert all("recipe=digits" in job and "recipe=cifar100" not in job and "seed=0" in job for job in jobs)


def test_one_cell_can_be_picked():
    jobs = expand(["+sweep=A8", "sparsity=0.9", "freeze=0.15", "seed=1"], None)
    assert [set(job) for job in jobs] == [
        {"recipe=cifar100", "method=mest_ems", "sieve=none", "sparsity=0.9", "freeze=0.15", "seed=1", "+sweep=[A8]"}
    ]


@pytest.mark.parametrize("argument", ["+sweep=A8,A9", "+sweep=[A8,A9]"])
def test_several_files_unite_and_share_runs(argument):
    jobs = expand([argument, "sparsity=0.9"], None)
    names = [signature(compose([o for o in job if "sweep" not in o])) for job in jobs[::3]]
    assert len(jobs) == 54  # the cell without freezing and sieving is spelled differently in each
    assert len(set(names)) == 17


def test_sweeps_of_the_command_line_multiply_the_cells():
    assert len(expand(["+sweep=A10", "optim.lr=0.1,0.2"], None)) == 36
