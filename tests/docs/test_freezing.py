"""The page on freezing shows what the plans are today: its picture and its table are made anew and compared."""

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS))
    return import_module("draw_freezing")


def test_the_picture_is_up_to_date(drawing: ModuleType) -> None:
    """Every word of it, its description with each plan among them; another matplotlib may place them elsewhere."""
    pytest.importorskip("matplotlib")
    texts = [
        [part.text for part in ElementTree.fromstring(picture).iter() if part.tag in (f"{SVG}text", f"{SVG}desc")]
        for picture in (drawing.picture(), (DOCS / "freezing.svg").read_bytes())
    ]
    assert texts[0] == texts[1] and "Single-Shot: 9/15 blocks from 60" in texts[0][0]


def test_the_table_is_up_to_date(drawing: ModuleType) -> None:
    page = (DOCS / "freezing.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- table:freezing -->\n(.*?)\n<!-- /table:freezing -->", page, re.DOTALL)
    assert found is not None and found[1] == drawing.table()
