"""The report in Chromium, from disk: it asks for nothing else, fits a phone, sorts, and is legible by day and night."""

import json

import pytest

import analysis.report.items as items_module
from analysis.load import load_runs
from analysis.report.write import write_report
from tests.analysis.chromium import Browser, find_chromium

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed: apt-get install chromium")

TABLES, FIGURES = ("T1", "T2", "A8", "A10", "MG1"), ("MF5a",)
PAGES = ("index", *TABLES, *FIGURES)
VALUES = [74.5, None, 71.25, 74.5, None, 71.5, 100, -9.5, 1e-5]
# Every text's contrast with what is behind it, by WCAG's formula; the smallest, and where it is.
CONTRAST = """
(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if ((parts(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let least = [99, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < least[0]) least = [ratio, texts.currentNode.data.trim()];
  }
  return least;
})()
"""
COLUMN = "[...document.querySelector('table').tBodies[0].rows].map(row => row.cells[%d]?.dataset.value ?? null)"
ORDER = "[...document.querySelector('table').tBodies[0].rows].map(row => row.cells[0].textContent)"
SORTED = "[...document.querySelectorAll('table th')].map(th => th.getAttribute('aria-sort')).filter(Boolean)"


@pytest.fixture(scope="module")
def browser():
    with Browser(find_chromium()) as browser:
        yield browser


MADE = {}


@pytest.fixture
def site(plant, tmp_path_factory, monkeypatch):
    """A report of some tables, made once; one of them cannot be made, none is complete."""
    if not MADE:
        base = tmp_path_factory.mktemp("site")
        monkeypatch.setattr(items_module, "table_ids", lambda: TABLES)
        monkeypatch.setattr(items_module, "figure_ids", lambda: FIGURES)
        plant("A8", runs=base / "runs", cells=[1, 2, 3, 9, 10])
        plant("T2", runs=base / "runs", cells=range(18, 21))
        plant("A10", "recipe=digits", runs=base / "runs", cells=[0])
        plant("A10", "recipe=digits", "epochs=40", runs=base / "runs", cells=[0])  # two protocols: no table
        plant("MF5a", runs=base / "runs", cells=[3, 4])
        write_report(load_runs([base / "runs"]), base / "report", (), str(base / "runs"))
        MADE["site"] = base / "report"
    return MADE["site"]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_page_opens_from_disk(browser, site, name, width, dark):
    browser.open(site / f"{name}.html", width, dark=dark)
    told = [e["params"] for e in browser.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
    said = [e["params"] for e in browser.events if e["method"] == "Runtime.consoleAPICalled"]
    assert told == said == []
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert asked[0] == (site / f"{name}.html").as_uri()
    assert all(url.startswith((f"{site.as_uri()}/", "data:")) for url in asked)
    assert browser.value("[document.documentElement.scrollWidth, innerWidth]") == [width, width]
    ratio, text = browser.value(CONTRAST)
    assert ratio >= 4.5, text


def test_what_is_wider_than_a_phone_scrolls_in_its_region(browser, site):
    browser.open(site / "T2.html", 360)
    region = "document.querySelector('.region')"
    assert browser.value(f"{region}.scrollWidth > {region}.clientWidth")
    first = f"{region}.querySelector('tbody th').getBoundingClientRect().x"
    before = browser.value(first)
    browser.value(f"{region}.scrollLeft = 400")
    assert browser.value(first) == before  # a row's label stays in view


def test_a_click_sorts_by_value_up_down_and_back(browser, site):
    browser.open(site / "index.html", 1280)
    papers = browser.value(ORDER)
    head = "table th:nth-child(4) button"  # runs: some tables need none, and one cannot be made
    for order in ("ascending", "descending"):
        browser.click(head)
        assert browser.value(SORTED) == [order]
        values = browser.value(COLUMN % 3)
        there = [float(value) for value in values if value is not None]
        assert there == sorted(there, reverse=order == "descending") and there == [
            float(value) for value in values[: len(there)]
        ]  # what is missing is last
    browser.click(head)
    assert browser.value(SORTED) == [] and browser.value(ORDER) == papers


def test_keys_sort_too_and_focus_is_seen(browser, site):
    browser.open(site / "A8.html", 1280)
    papers = browser.value(ORDER)
    for _ in range(20):
        browser.press("Tab")
        if browser.value("document.activeElement.closest('th') !== null"):
            break
    outline = browser.value("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    browser.press("Enter")
    assert browser.value(SORTED) == ["ascending"]
    browser.press("Space")
    assert browser.value(SORTED) == ["descending"] and browser.value(ORDER) == papers[::-1]
    browser.press("Enter")
    assert browser.value(SORTED) == [] and browser.value(ORDER) == papers


def test_sorting_is_stable_by_value_and_missing_is_last(browser, site, tmp_path):
    """The table of a page, with numbers of our own in it: texts would put 71.5 before 71.25."""
    browser.open(site / "A8.html", 1280)
    browser.value(f"""(() => {{
      const body = document.querySelector('table').tBodies[0], row = body.rows[0];
      for (const [number, value] of {json.dumps(VALUES)}.entries()) {{
        const copy = row.cloneNode(true);
        copy.cells[0].textContent = "row " + number;
        copy.cells[2].innerHTML = value === null ? '<span class="missing">-</span>' : "about " + value;
        delete copy.cells[2].dataset.value;
        if (value !== null) copy.cells[2].dataset.value = value;
        body.append(copy);
      }}
      body.rows[1].remove(); row.remove();
      const table = document.querySelector('table');
      table.outerHTML = table.outerHTML.replace(/<.?button.*?>/g, "");
      const again = document.createElement("script");
      again.textContent = document.scripts[document.scripts.length - 1].textContent;
      document.body.append(again);
    }})()""")
    browser.click("table th:nth-child(3) button")
    names = [f"row {number}" for number in (7, 8, 2, 5, 0, 3, 6, 1, 4)]
    assert browser.value(ORDER) == names
    browser.click("table th:nth-child(3) button")
    assert browser.value(ORDER) == [f"row {number}" for number in (6, 0, 3, 5, 2, 8, 7, 1, 4)]
    browser.click("table th:nth-child(1) button")
    assert browser.value(ORDER) == [f"row {number}" for number in range(9)]


def test_the_first_key_leads_past_the_links(browser, site):
    browser.open(site / "A8.html", 1280)
    browser.press("Tab")
    assert browser.value("document.activeElement.textContent") == "Skip to the content"
    assert browser.value("document.activeElement.getBoundingClientRect().x") >= 0
    browser.press("Enter")
    assert browser.value("document.activeElement.id") == "main"


def test_a_number_leads_to_its_runs(browser, site):
    browser.open(site / "A8.html", 360)
    browser.click("td a")
    group = "document.querySelector(':target')"
    assert browser.value(f"{group}.tagName + ' ' + {group}.rows.length") == "TBODY 4"
    assert 0 <= browser.value(f"{group}.getBoundingClientRect().y") < 900


def test_without_scripts_all_is_there(browser, site):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(site / "A8.html", 1280)
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.value("document.querySelectorAll('button').length") == 0
    assert browser.value("document.querySelectorAll('td a').length") > 4


def test_on_paper_nothing_is_cut_off(browser, site):
    browser.open(site / "T2.html", 1280)
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert browser.value("getComputedStyle(document.querySelector('nav')).display") == "none"
        assert browser.value("getComputedStyle(document.querySelector('.region')).overflowX") == "visible"
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
