"""The page on freezing shows what the plans are today: its picture and its table are made anew and compared."""

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS))
    return import_module("draw_freezing")


def test_the_picture_is_up_to_date(drawing: ModuleType) -> None:
    drawn = drawing.draw({option: drawing.plan_of(option) for option in drawing.SCHEMES})
    assert drawn == (DOCS / "freezing.svg").read_text(encoding="utf-8")


def test_the_table_is_up_to_date(drawing: ModuleType) -> None:
    page = (DOCS / "freezing.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- table:freezing -->\n(.*?)\n<!-- /table:freezing -->", page, re.DOTALL)
    assert found is not None and found[1] == drawing.table()
