"""python -m analysis: what it prints, writes and refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import run
from analysis.figures import figure_ids
from analysis.tables import table_ids
from spfde_exp.errors import UserError

ROOT = Path(__file__).parents[2]


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def test_list_needs_neither_torch_nor_pandas_nor_matplotlib():
    code = (
        "import sys; from analysis.__main__ import run; run(['list']); "
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), 'too much imported'"
    )
    answer = python("-c", code)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    tables = "T1 T2 T3 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 M1 M2 MA1 MG1 MH1 MH2 MI1 MI2 MK1 ML1"
    figures = "F1a F1b F3a F3b F4 FA1 MF1 MF2 MF3 MF4 MF5a MF5b MF5c MFE1 MFF2 MFF3 MFH1 MFH2"
    assert [line.split()[0] for line in lines] == [*tables.split(), *figures.split()]
    assert lines[10] == "A8  Ablation of layer freezing  (SpFDE Table A8)"


def test_a_table_needs_no_torch_and_works_from_any_folder(tmp_path, plant):
    plant("A10", "recipe=digits", cells=[1])
    code = (
        "import sys; from analysis.__main__ import run; run(['A10', '--format', 'json']); "
        "assert not {'torch', 'spfde_exp.run', 'spfde_exp.plan'} & set(sys.modules), 'too much imported'"
    )
    answer = python("-c", code, cwd=tmp_path)  # --runs is `runs` by default
    assert answer.returncode == 0, answer.stderr
    assert '"mean": 51.63' in answer.stdout


def test_an_error_is_one_line_and_exit_status_1(tmp_path):
    answer = python("-m", "analysis", "A99")
    assert (answer.returncode, answer.stdout) == (1, "")
    known = ", ".join([*table_ids(), *figure_ids()])
    assert answer.stderr == f"error: 'A99' is no table or figure; allowed: {known}, all, or list\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A8", "--runs", "nowhere"], "nowhere is no folder"),
        (["A8", "--format", "word"], "invalid choice: 'word'"),
        (["A8", "--out", "nowhere/table.md"], "its folder is not there"),
        (["F3a", "--format", "csv"], "--format is for tables; F3a is written as SVG, PNG and CSV"),
        (["F3a", "--out", "nowhere"], "--out nowhere is no folder; make it, or choose another one"),
        (["A8", "--all"], "unrecognized arguments: --all"),
    ],
)
def test_refusals(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run(arguments)


def test_out_writes_the_same_and_options_may_stand_anywhere(tmp_path, plant, capsys, monkeypatch):
    plant("A10", "recipe=digits", runs=tmp_path / "one", cells=[0, 1, 2])
    plant("A10", "recipe=digits", runs=tmp_path / "two", cells=[3, 4, 5])
    monkeypatch.chdir(tmp_path)
    run(["A10", "--runs", "one", "recipe=digits", "--runs", "two", "epochs=80"])
    shown = capsys.readouterr().out
    assert shown.count("(3)") == 2 * 6  # FLOPs reduction and accuracy
    run(["A10", "recipe=digits", "epochs=80", "--runs", "one", "--runs", "two", "--out", "table.md"])
    assert capsys.readouterr().out == ""
    assert Path("table.md").read_text() == shown
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["table.md"]


def test_a_folder_as_a_table_s_file_is_refused(tmp_path):
    answer = python("-m", "analysis", "A3", "--out", str(tmp_path))
    assert answer.returncode == 1
    assert answer.stderr == f"error: --out {tmp_path} is a folder; a table is written to a file, such as A3.md\n"


def test_a_place_that_takes_no_files_is_named(tmp_path, monkeypatch):
    def fail(path, text):
        raise PermissionError(13, "Permission denied", f"{path}.tmp")

    monkeypatch.setattr("analysis.__main__.write_atomic", fail)
    with pytest.raises(UserError, match=r"--out \S*A3.md cannot be written \(Permission denied\)"):
        run(["A3", "--out", str(tmp_path / "A3.md")])
