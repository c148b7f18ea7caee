"""`python -m tests.browser.pictures [FOLDER]`: every result and the panel in both themes, from a real JupyterLab.

Only the panel's rare states are made of answers that are written here: to have them, it would have to be broken.

All of them go to build/pictures/ to be looked at, and those that the README shows to docs/pictures/ too.
FOLDER: a workspace that an earlier call left there, which saves its time; else one is made, and removed at the end.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

from aiinfra_lab.jupyter.items import first_steps
from tests.browser import results
from tests.browser.lab import Lab, end_all, started
from tests.browser.serving import ROOT
from tests.browser.things import Server, flights, leave, widen

PICTURES = ROOT / "docs/pictures"
ALL = ROOT / "build/pictures"
SHOWN = {"02-drift-light": "result", "03-train-light": "run", "panel-360-light": "panel"}
"""A picture of all → its name among those of the README."""
FILE, LIVE_FILE = "results.ipynb", "live.ipynb"
LIVE_MS = 7000  # after so long a live frame has something to show
PANEL_WIDTHS = (260, 360)


def main(kept: Path | None) -> None:
    """Take all pictures anew."""
    shutil.rmtree(ALL, ignore_errors=True)
    ALL.mkdir(parents=True)
    with workspace(kept) as root, tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        cells = results.cells(root)
        results.write(root / FILE, cells)
        results.write(root / LIVE_FILE, results.LIVE)
        with started(playwright, Path(folder), root) as lab:
            take(lab, list(cells))
    for name, shown in SHOWN.items():
        shutil.copy(ALL / f"{name}.png", PICTURES / f"{shown}.png")


@contextmanager
def workspace(kept: Path | None) -> Iterator[Path]:
    """A workspace in which the example was run; its jobs end with the block, unless it is kept."""
    with tempfile.TemporaryDirectory() as place:
        root = kept or Path(place, "flights")
        root.mkdir(exist_ok=True)
        os.environ["AIINFRA_WORKSPACE"] = str(root)
        if not (root / ".aiinfra").exists():
            results.prepare(root)
        try:
            yield root
        finally:
            if kept is None:
                end_all()


def take(lab: Lab, names: list[str]) -> None:
    """The results in both themes, the second time as a file that was opened again; the panel in two widths."""
    with lab.page(width=1440, height=1400) as page:
        lab.open(page, FILE)
        lab.run_all(page, timeout_s=600)
        pictures(page, names, "light")
        panels(lab, page, "light")
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_timeout(1000)
    with lab.page("dark", width=1440, height=1400) as page:
        lab.open(page, FILE)
        pictures(page, names, "dark")
        panels(lab, page, "dark")
    for theme in ("light", "dark"):
        with lab.page(theme, width=1440, height=1000) as page:
            live(lab, page, theme)
        for width in PANEL_WIDTHS:
            states(lab, width, theme)


def pictures(page: Page, names: list[str], theme: str) -> None:
    """Each cell's output."""
    for place, name in enumerate(names, start=1):
        page.evaluate("place => window.jupyterapp.shell.currentWidget.content.scrollToItem(place, 'start')", place)
        output = output_of(page, place)
        output.wait_for()
        page.wait_for_timeout(150)  # pictures are decoded
        output.screenshot(path=ALL / f"{name}-{theme}.png")


def output_of(page: Page, place: int) -> Locator:
    """What a cell has shown."""
    return page.locator(f".jp-Cell[data-windowed-list-index='{place}'] .jp-Cell-outputWrapper")


def live(lab: Lab, page: Page, theme: str) -> None:
    """What works, while it does."""
    lab.open(page, LIVE_FILE)
    lab.start_all(page)
    for place, name in enumerate(results.LIVE, start=1):
        output = output_of(page, place)
        output.locator(".aiinfra-card progress").wait_for()
        page.wait_for_timeout(LIVE_MS)
        output.screenshot(path=ALL / f"{name}-{theme}.png")
    lab.wait_idle(page)


def states(lab: Lab, width: int, theme: str) -> None:
    """The panel of nothing, without its server half, with a question, and without an answer."""
    with lab.page(theme, width=1440, height=1400) as page:
        Server(steps=first_steps(lab.root), usd_per_hour=0.0).serve(page)
        panel = lab.panel(page)
        widen(page, width)
        _state(page, panel, "nothing costs money", f"panel-empty-{width}-{theme}")
        Server(flights()).serve(page)
        page.wait_for_timeout(2500)
        panel.get_by_role("button", name="Stop endpoint delay", exact=True).click()
        _state(page, panel, "Keep it", f"panel-asked-{width}-{theme}")
        panel.get_by_role("button", name="Keep it").click()
        leave(page)
        page.unroute_all()
        page.route("**/aiinfra/**", lambda route: route.abort())
        _state(page, panel, "does not answer", f"panel-stale-{width}-{theme}")
    with lab.page(theme, width=1440, height=1400) as page:
        page.route("**/aiinfra/**", lambda route: route.fulfill(status=404, json={}))
        panel = lab.panel(page)
        widen(page, width)
        _state(page, panel, "server half is missing", f"panel-trouble-{width}-{theme}")


def _state(page: Page, panel: Locator, text: str, name: str) -> None:
    expect(panel).to_contain_text(text)
    page.wait_for_timeout(400)  # what opens has opened
    whole_panel(page, panel, name)


def panels(lab: Lab, page: Page, theme: str) -> None:
    """The panel as far down as it has something, narrow and wide; the wide one with its first row open."""
    panel = lab.panel(page)
    for width in PANEL_WIDTHS:
        widen(page, width)
        if width == PANEL_WIDTHS[-1]:
            panel.locator(".aiinfra-Item-open").first.click()
        page.wait_for_timeout(2500)  # a look of the panel at what there is
        whole_panel(page, panel, f"panel-{width}-{theme}")


def whole_panel(page: Page, panel: Locator, name: str) -> None:
    """The panel as far down as it has something."""
    whole = panel.bounding_box()
    assert whole is not None
    parts = "node => Math.max(...[...node.querySelectorAll('*')].map(each => each.getBoundingClientRect().bottom))"
    box = {**whole, "height": min(whole["height"], panel.evaluate(parts) - whole["y"] + 12)}
    page.screenshot(path=ALL / f"{name}.png", clip=box)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None)
