"""Every kind of result in a real JupyterLab: what its sanitizer leaves, how large it is, and what axe finds."""

import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page, sync_playwright

from tests.browser import results
from tests.browser.lab import Lab, chromium, end_all, faults, started
from tests.browser.test_results import left_by_sanitizer

from .rows import Cannot

FILE = "results.ipynb"
PICTURE = 'src="data:image/svg+xml;base64,'


class Looked(NamedTuple):
    """What was found: how many results there were, what the sanitizer changed, sizes in bytes, and axe's faults."""

    results: int
    changed: list[str]
    bare_bytes: dict[str, int]
    whole_bytes: dict[str, int]
    faults: list[str]


@functools.cache
def look() -> Looked:
    """Make a workspace, run its recipe and the notebook of all results, and look at them."""
    if chromium() is None:
        raise Cannot("there is no Chromium on this machine")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, _workspace(Path(folder)) as root:
        place = Path(folder, "lab")
        place.mkdir()
        cells = results.cells(root)
        results.write(root / FILE, cells)
        with started(playwright, place, root) as lab:
            return _look(lab, list(cells))


@contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    root = folder / "flights"
    root.mkdir()
    before = os.environ.get("AIINFRA_WORKSPACE")
    os.environ["AIINFRA_WORKSPACE"] = str(root)
    results.prepare(root)
    try:
        yield root
    finally:
        end_all()
        os.environ.pop("AIINFRA_WORKSPACE")
        if before is not None:
            os.environ["AIINFRA_WORKSPACE"] = before


def _look(lab: Lab, names: list[str]) -> Looked:
    changed, bare, whole, wrong = [], {}, {}, []
    with lab.page(width=1440, height=1400) as page:
        lab.open(page, FILE)
        lab.run_all(page, timeout_s=900)
        for name, html in zip(names, _htmls(page), strict=True):
            if html:
                before, after = left_by_sanitizer(page, html)
                changed += [name] * (before != after)
                whole[name], bare[name] = len(html.encode()), len(_without_pictures(html).encode())
        wrong += _faults(page, names, "light")
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_timeout(1000)
    for theme, more in (("dark", False), ("contrast", False), ("light", True)):
        with lab.page(theme, width=1440, height=1400) as page:
            if more:
                page.emulate_media(contrast="more")
            lab.open(page, FILE)
            wrong += _faults(page, names, f"{theme}{' with more contrast' * more}")
    return Looked(len(whole), changed, bare, whole, wrong)


def _htmls(page: Page) -> list[str]:
    """The HTML of each cell's last output; nothing where it has none, as an error."""
    found: list[str] = page.evaluate(
        "() => [...window.jupyterapp.shell.currentWidget.content.model.cells].slice(1).map(cell => {"
        " const outputs = cell.toJSON().outputs.filter(output => output.data && output.data['text/html']);"
        " return outputs.length ? [outputs.at(-1).data['text/html']].flat().join('') : ''; })"
    )
    return found


def _without_pictures(html: str) -> str:
    first, *rest = html.split(PICTURE)
    return first + "".join(part.partition('"')[2] for part in rest)


def _faults(page: Page, names: list[str], theme: str) -> list[str]:
    found = []
    for place, name in enumerate(names, start=1):
        page.evaluate("place => window.jupyterapp.shell.currentWidget.content.scrollToItem(place, 'start')", place)
        cell = f".jp-Cell[data-windowed-list-index='{place}']"
        page.locator(cell).wait_for()
        if page.locator(f"{cell} .aiinfra-card").count():
            found += [f"{name} in {theme}: {fault}" for fault in faults(page, f"{cell} .aiinfra-card")]
    return found
