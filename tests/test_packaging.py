"""What is installed is what lies in the checkout, and starts from any directory without loading torch."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

import spfde_exp

ROOT = Path(__file__).resolve().parent.parent
CODE = ("spfde_exp", "analysis", "hydra_plugins")
MOVED = {
    "conf": "spfde_exp/conf",
    "sweeps": "spfde_exp/sweeps",
}  # folder in the checkout -> in an installation
SHIPPED = {".py", ".yaml", ".csv", ".txt", ".typed", ".html", ".css", ".js"}


def setup_cfg(section, key):
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser[section][key].split("\n")[1:]


def shipped_files():
    """Name in an installation of every file that must be in it."""
    names = set()
    for folder in (*CODE, *MOVED):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in SHIPPED:
                names.add(str(MOVED.get(folder, folder) / file.relative_to(ROOT / folder)))
    return names


def third_party_imports():
    found = set()
    for file in (file for folder in CODE for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(str(node.module).partition(".")[0])
    return found - sys.stdlib_module_names - set(CODE)


def test_every_folder_with_code_is_listed():
    folders = {file.parent.relative_to(ROOT) for folder in CODE for file in (ROOT / folder).rglob("*.py")}
    on_disk = {".".join(folder.parts) for folder in folders}
    assert set(setup_cfg("options", "packages")) == on_disk | {"spfde_exp.conf", "spfde_exp.sweeps"}


def test_what_is_imported_is_what_is_required():
    lines = setup_cfg("options", "install_requires") + setup_cfg("options.extras_require", "figures")
    required = {re.match(r"[\w-]+", line)[0].lower() for line in lines}
    homes = packages_distributions()
    read = {"scikit-learn"}  # whose file of digits is, without an import
    assert {homes[name][0].lower() for name in third_party_imports()} | read == required


def test_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == spfde_exp.__version__
    assert {reference["year"] for reference in citation["references"]} == {2021, 2022}


@pytest.mark.parametrize(
    ("module", "arguments", "shows"),
    [
        ("spfde_exp", ["--help"], "sparsity=0.9,0.95,0.98"),
        ("spfde_exp", ["--cfg", "job", "sparsity=0.93"], "target: 0.93"),
        ("spfde_exp", ["--info", "defaults", "+sweep=A8"], "sweep/A8"),
        ("spfde_exp.status", ["--help"], "--watch"),
        ("spfde_exp.data", ["--help"], "--to DIR"),
        ("analysis", ["list"], "A8"),
    ],
)
def test_starts_anywhere_without_torch(run_cli, tmp_path, module, arguments, shows):
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')")  # cwd comes first on the path
    done = run_cli(*arguments, cwd=tmp_path, module=module)
    assert done.returncode == 0, done.stderr
    assert shows in done.stdout
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["torch.py"]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("spars", {"sparsity="}),
        ("method=mest_", {"method=mest_em", "method=mest_ems"}),
        ("freeze.t_", {"freeze.t_freeze="}),
        ("-m +sweep=A", {"+sweep=A8", "+sweep=A9", "+sweep=A10"}),
    ],
)
def test_tab_completion(run_cli, tmp_path, typed, offered):
    line = f"spfde-exp {typed}"
    env = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = run_cli("-sc", "query=bash", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert offered <= set(done.stdout.split())


@pytest.fixture
def source(tmp_path):
    """A copy to build from, so that neither a stale build/ nor another test process gets in."""
    copy = tmp_path / "source"
    for folder in (*CODE, *MOVED):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture
def run(tmp_path):
    """A command in an empty folder, with what is installed in `site`; its output."""
    (tmp_path / "work").mkdir()

    def call(*command, cwd=tmp_path / "work"):
        env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.mark.slow
def test_the_wheel_is_complete_and_works_from_any_directory(source, run, tmp_path):
    site, work = tmp_path / "site", tmp_path / "work"
    pip = (sys.executable, "-m", "pip")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", ".", cwd=source)
    (wheel,) = (source / "dist").iterdir()
    assert wheel.name.startswith(f"spfde_exp-{spfde_exp.__version__}-")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == shipped_files()

    run(*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    assert run(sys.executable, "-c", "import spfde_exp; print(spfde_exp.__file__)").startswith(str(site))
    assert "target: 0.9" in run(sys.executable, "-m", "spfde_exp", "--cfg", "job")
    assert "six runs" in run(str(site / "bin" / "spfde-exp"), "--help")
    assert "A8" in run(sys.executable, "-m", "analysis", "list")
    tiny = ("-m", "debug=tiny", "seed=0,1", "logger=none", f"runs_dir={work / 'runs'}")
    run(sys.executable, "-m", "spfde_exp", *tiny)
    assert len(list((work / "runs").glob("*/summary.json"))) == 2


@pytest.mark.slow
def test_an_editable_install_works_from_any_directory(source, run, tmp_path):
    site = str(tmp_path / "site")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "--target", site, "-e", ".", cwd=source)
    start = f"import site; site.addsitedir({site!r}); from spfde_exp.cli import main; main()"
    assert "target: 0.93" in run(sys.executable, "-c", start, "sparsity=0.93", "--cfg", "job")
    assert "sweep/A8" in run(sys.executable, "-c", start, "+sweep=A8", "--info", "defaults")
