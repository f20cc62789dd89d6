"""Curves of a run, from files as the hooks leave them."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from analysis.curves import changes, draw, load_hook
from spfde_exp.errors import UserError
from spfde_exp.store import RunFolder

ROWS = {
    "similarity": [
        {"epoch": epoch, "similarity": {"a": 0.5 + epoch / 4, "b": 1.0}, "common": {"a": 0.1, "b": epoch / 2}}
        for epoch in range(3)
    ],
    "cka": [{"epoch": epoch, "cka": {"a": 0.2 * epoch, "b": 0.9}} for epoch in range(3)],
    "gradient_norms": [
        {"epoch": 0, "layers": {"a": 4.0, "b": 1.0}, "blocks": {"one": 2.0}},
        {"epoch": 1, "layers": {"a": 1.0, "b": 1.5}, "blocks": {"one": 3.0}},
        {"epoch": 2, "layers": {"b": 3.0}, "blocks": {}},  # frozen
    ],
    "unforgettable": [{"epoch": epoch, "unforgettable": 9 - epoch, "newly_forgotten": epoch} for epoch in range(3)],
}


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path / "0123456789abcdef")
    folder.file("hooks").mkdir(parents=True)
    settings = {"model": {"name": "resnet14"}, "dataset": {"name": "digits"}, "method": {"name": "mest_ems"}}
    folder.write_config({**settings, "sparsity": {"target": 0.9}, "epochs": 3})
    for hook, rows in ROWS.items():
        for row in rows:
            folder.append_row(f"hooks/{hook}", row)
    return folder.path


def test_one_row_per_epoch_and_one_column_per_layer(watched: Path) -> None:
    frame = load_hook(watched, "cka")
    assert frame.index.tolist() == [1, 2, 3] and frame.index.name == "epoch"
    assert frame["a"].tolist() == [0.0, 0.2, 0.4] and frame["b"].tolist() == [0.9] * 3
    assert load_hook(watched, "similarity")["a"].tolist() == [0.5, 0.75, 1.0]
    assert load_hook(watched, "similarity", "common")["b"].tolist() == [0.0, 0.5, 1.0]
    assert load_hook(watched, "gradient_norms", "blocks")["one"].tolist()[:2] == [2.0, 3.0]
    assert load_hook(watched, "unforgettable")["newly_forgotten"].tolist() == [0, 1, 2]


def test_changes_of_norms_by_hand(watched: Path) -> None:
    frame = changes(load_hook(watched, "gradient_norms"))
    assert frame.index.tolist() == [2, 3]
    assert frame["b"].tolist() == [0.5, 1.0]
    assert frame["a"].tolist()[0] == 0.75 and pd.isna(frame["a"].tolist()[1])


@pytest.mark.parametrize("hooks", [["cka"], ["similarity", "cka"], list(ROWS)])
def test_the_picture_has_a_panel_per_hook_and_is_the_same_every_time(watched: Path, hooks: Sequence[str]) -> None:
    pytest.importorskip("matplotlib")
    picture = draw(watched, hooks)
    texts = [element.text for element in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert "resnet14 on digits, mest_ems, sparsity 0.9, 3 epochs" in texts
    assert ("Representational similarity" in texts, "Structural similarity" in texts) == (True, "similarity" in hooks)
    assert picture == draw(watched, hooks)


def test_the_command(watched: Path, tmp_path: Path, run_cli) -> None:
    pytest.importorskip("matplotlib")
    done = run_cli(str(watched), "--out", "curves.png", cwd=tmp_path, module="analysis.curves")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "--out", "x.svg"], "error: nowhere was not watched: train it with hooks.cka=true"),
        (["nowhere", "--hooks", "cka", "--out", "x.svg"], "error: nowhere has no hooks/cka.jsonl"),
        (["RUN", "--out", "missing/x.svg"], "error: --out missing/x.svg: its folder is not there"),
        (["RUN", "--out", "x.txt"], "error: a picture cannot be written as 'txt'; name a file that ends in .svg"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], told: str, watched: Path, tmp_path: Path, run_cli) -> None:
    pytest.importorskip("matplotlib")
    words = [str(watched) if word == "RUN" else word for word in arguments]
    done = run_cli(*words, cwd=tmp_path, module="analysis.curves")
    assert done.returncode == 1
    assert done.stderr.startswith(told) and len(done.stderr.splitlines()) == 1


def test_a_hook_that_was_off_is_told(watched: Path) -> None:
    RunFolder(watched).file("hooks/cka.jsonl").unlink()
    with pytest.raises(UserError, match=r"has no hooks/cka\.jsonl; train it with hooks\.cka=true"):
        load_hook(watched, "cka")
