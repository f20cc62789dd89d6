"""The command `python -m spfde_exp.runs`: its verbs, and its errors in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from spfde_exp.runs import VERBS

MODULE = "spfde_exp.runs"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, run_cli, tmp_path):
    done = run_cli(verb, "--help", cwd=tmp_path, module=MODULE)
    assert done.returncode == 0
    assert f"spfde_exp.runs {verb}" in done.stdout
    assert "--runs" in done.stdout


def test_every_verb_is_named(run_cli, tmp_path):
    told = run_cli("--help", cwd=tmp_path, module=MODULE).stdout
    assert all(text in told for text in VERBS.values())
    modules = {path.stem for path in Path(sys.modules["spfde_exp.runs"].__file__).with_name("verbs").glob("*.py")}
    assert set(VERBS) == modules - {"__init__", "train"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "a"], "error: --runs runs is no folder; name the runs_dir of your runs"),
        (["shwo", "a"], "error: argument verb: invalid choice: 'shwo'"),
        (["--runs", "."], "error: the verb comes before --runs; allowed: log, show, diff"),
        ([], "error: the following arguments are required: verb"),
        (["diff", "a", "--runs", "."], "error: the following arguments are required: SIG"),
        (["rm", "--state", "dun", "--runs", "."], "error: --state dun is unknown"),
    ],
)
def test_errors_are_one_line(words, message, run_cli, tmp_path):
    done = run_cli(*words, cwd=tmp_path, module=MODULE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_looking_needs_no_torch():
    code = "import sys; import spfde_exp.runs, spfde_exp.verbs.show, spfde_exp.verbs.rm, spfde_exp.verbs.retry; "
    code += "import spfde_exp.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
