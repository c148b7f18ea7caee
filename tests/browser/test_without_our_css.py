"""A notebook of results where our style sheet is not loaded, as nbconvert writes it: without scripts, offline."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbformat import v4
from playwright.sync_api import Page, Playwright

from aiinfra_lab.show import Card
from tests.browser import results
from tests.browser.lab import FLAGS, SCREENSHOTS, chromium, end_all
from tests.browser.test_results import CARDS, GRAPH

pytestmark = [pytest.mark.browser, pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")]
LEAST_CONTRAST = 4.5
# What is seen: nothing of a fold that is closed.
SEEN = "[...document.querySelectorAll('.aiinfra-card *')].filter(each => each.checkVisibility())"
STATES = f"""() => {SEEN}.filter(each => each.matches('.aiinfra-state, .aiinfra-mark')).map(each => each.innerText)"""
NUMBERS = f"""() => {SEEN}.filter(each => each.align === 'right').map(each => getComputedStyle(each).textAlign)"""
# Light of each text and of what it stands on, as a picture without colours has it.
FAINT = f"""least => {{
  const grey = colour => {{
    const [r, g, b, alpha = 1] = colour.match(/[\\d.]+/g).map(Number);
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return alpha < 0.5 ? undefined : 0.2126 * x + 0.7152 * y + 0.0722 * z;
  }};
  const ground = node => node ? grey(getComputedStyle(node).backgroundColor) ?? ground(node.parentElement) : 1;
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return {SEEN}.filter(each => [...each.childNodes].some(part => part.nodeType === 3 && part.data.trim()))
    .filter(each => contrast(grey(getComputedStyle(each).color) ?? 1, ground(each)) < least)
    .map(each => each.outerHTML.slice(0, 120));
}}"""
BEYOND = f"""() => {SEEN}
  .filter(each => each.getBoundingClientRect().right > document.scrollingElement.clientWidth)
  .map(each => each.outerHTML.slice(0, 120))"""


@pytest.fixture
def page(playwright: Playwright) -> Iterator[Page]:
    """A page of a browser that runs no script and reaches nobody."""
    browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
    context = browser.new_context(java_script_enabled=False, offline=True, viewport={"width": 1000, "height": 1200})
    yield context.new_page()
    browser.close()


def opened(page: Page, file: Path) -> Page:
    page.goto(file.as_uri(), wait_until="domcontentloaded")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"without-our-css-{file.stem}.png", full_page=True)
    return page


def written(folder: Path, cards: Sequence[Card]) -> Path:
    """A page with these as the outputs of a notebook."""
    outputs: list[Any] = [v4.new_output("display_data", card.bundle()) for card in cards]
    book = v4.new_notebook(cells=[v4.new_code_cell("", outputs=[output]) for output in outputs])
    html, _ = HTMLExporter().from_notebook_node(book)
    file = folder / "cards.html"
    file.write_text(html, "utf-8")
    return file


def assert_readable(page: Page) -> None:
    assert page.locator(".aiinfra-card").count() > 0
    states = page.evaluate(STATES)
    assert states
    assert [text for text in states if len(text.split(maxsplit=1)) < 2] == []  # a glyph and a word
    assert {align.removeprefix("-webkit-") for align in page.evaluate(NUMBERS)} == {"right"}
    assert page.evaluate(FAINT, LEAST_CONTRAST) == []
    assert page.evaluate(BEYOND) == []


def test_cards_are_readable_without_our_style_sheet(page: Page, tmp_path: Path) -> None:
    assert_readable(opened(page, written(tmp_path, [*CARDS.values(), GRAPH])))


@pytest.mark.slow
def test_every_result_is_readable_without_our_style_sheet(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(tmp_path))
    try:
        results.prepare(tmp_path)
        results.write(tmp_path / "results.ipynb", results.cells(tmp_path))
        assert_readable(opened(page, executed(tmp_path / "results.ipynb")))
    finally:
        end_all()


def executed(file: Path) -> Path:
    """The notebook run and written as a page by nbconvert; every one of its cells has shown something."""
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--inplace", file.name]
    subprocess.run(command, cwd=file.parent, env=dict(os.environ), check=True)
    book = nbformat.read(file, v4.nbformat)
    assert [cell.source for cell in book.cells[1:] if not cell.outputs] == []
    html, _ = HTMLExporter().from_notebook_node(book)
    page = file.with_suffix(".html")
    page.write_text(html, "utf-8")
    return page
