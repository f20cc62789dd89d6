"""What the documentation quotes exists: commands compose, links lead somewhere, the picture is up to date."""

import re
import shlex
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

from analysis.figures import figure_ids
from analysis.tables import table_ids
from spfde_exp.config import compose
from spfde_exp.launch.sweepfile import expand
from spfde_exp.options import accept_numbers

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """Every quoted call of `python -m <module>`, in indented lines and in backticks, without comments."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = re.findall(r"^ {4}(python -m .*)$", text, re.MULTILINE)
        spans = [" ".join(span.split()) for span in re.findall(r"`(python -m [^`]*)`", text)]
        found |= dict.fromkeys(line.split(" #")[0].strip() for line in lines + spans)
    return list(found)


def draw_idea() -> ModuleType:
    spec = util.spec_from_file_location("draw_idea", ROOT / "docs" / "draw_idea.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_commands() -> None:
    assert "python -m spfde_exp -m sparsity=0.9,0.95,0.98 freeze=0.15,0.2" in commands()
    assert "python -m spfde_exp -m +sweep=A8" in commands()


@pytest.mark.parametrize("command", [c for c in commands() if c.split()[2] == "spfde_exp"])
def test_command_composes(command: str) -> None:
    arguments = shlex.split(command)[3:]
    if "--help" in arguments or "--cfg" in arguments:  # run by tests/test_cli.py
        return
    if "-m" not in arguments:
        compose(arguments)
        return
    accept_numbers()
    jobs = expand([argument for argument in arguments if argument != "-m"], None)
    assert len(jobs) == len({tuple(job) for job in jobs}) > 1
    for job in (jobs[0], jobs[-1]):
        compose(job)


def test_other_commands_exist() -> None:
    for command in commands():
        module, *arguments = shlex.split(command)[2:]
        assert util.find_spec(module), command
        if module == "analysis":
            assert arguments[0] in ("list", "all", *table_ids(), *figure_ids()), command


def test_sweep_of_the_readme_has_six_runs() -> None:
    accept_numbers()
    assert len(expand(["sparsity=0.9,0.95,0.98", "freeze=0.15,0.2"], None)) == 6
    assert len(expand(["+sweep=A8"], None)) == 54  # said in the README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if not t.startswith("https://") and not (page.parent / t).exists()]
    assert not missing


def test_map_names_what_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## Map")[1].split("## ")[0]
    room = ROOT
    for indent, names in re.findall(r"^( {4}| {6})(\S.*?) {2,}", text, re.MULTILINE):
        if len(indent) == 4:
            room = ROOT / names
            assert room.is_dir(), names
        for name in names.split() if len(indent) == 6 else []:
            assert (room / name).exists(), name


def test_options_of_the_table_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE)
    named = {group: set(re.findall(r"`([\w]+)`", said)) for group, said in rows if (ROOT / "conf" / group).is_dir()}
    assert {"recipe", "method", "model", "dataset", "sparsity", "freeze", "sieve"} <= set(named)
    for group, options in named.items():
        files = {file.stem for file in (ROOT / "conf" / group).glob("*.yaml")}
        assert options <= files, group
        assert files - options <= ({"unstructured"} if group == "sparsity" else set()), group


def test_picture_is_what_the_script_draws() -> None:
    module = draw_idea()
    plan = module.make_plan(compose(module.OVERRIDES))
    drawn = module.draw(plan).encode()
    assert drawn == (ROOT / "docs" / "idea.svg").read_bytes()
    assert b"<title" in drawn and b"<desc" in drawn
