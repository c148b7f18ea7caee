"""JupyterLab in a real browser: open a notebook, run it, look at it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from aiinfra_lab import jobs
from tests.browser.serving import ROOT, TOKEN, Served, serve
from tests.conftest import PATIENCE_S, until

SCREENSHOTS = ROOT / "build/screenshots"
AXE = ROOT / "widgets/node_modules/axe-core/axe.min.js"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark", "contrast": "JupyterLab Dark High Contrast"}
# Axe takes ten seconds of a core for each: the theme that most people have at once, the others with `make test-slow`.
THEMES_FOR_AXE = ["light", *(pytest.param(theme, marks=pytest.mark.slow) for theme in THEMES if theme != "light")]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Without a sandbox, since tests also run as root; and silent: whatever it asks for is asked for by our page.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def chromium() -> str | None:
    """The browser of this machine, or None."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


class Lab:
    """A JupyterLab server and a browser to look at it. `root` is a workspace with the notebooks in it."""

    def __init__(self, served: Served, browser: Browser) -> None:
        self.served = served
        self.root = served.root
        self._browser = browser

    @contextmanager
    def page(self, theme: str = "light", width: int = 1280, height: int = 800) -> Iterator[Page]:
        """A fresh page with Lab in it; leaving it checks that it spoke to this machine only, and threw nothing."""
        outside: list[str] = []
        thrown: list[str] = []
        context = self._browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(PATIENCE_S * 1000)
        page = context.new_page()
        page.on("request", lambda request: outside.append(request.url) if not is_here(request.url) else None)
        page.on("pageerror", lambda error: thrown.append(str(error)))
        page.goto(f"{self.served.url}/lab?reset&token={TOKEN}")
        page.wait_for_function(
            "() => window.jupyterapp && !document.querySelector('#jupyterlab-splash')"
            " && ['notebook:run-all-cells', 'aiinfra-lab:open', 'apputils:change-theme']"
            ".every(name => window.jupyterapp.commands.hasCommand(name))",
        )
        page.evaluate("() => window.jupyterapp.restored.then(() => true)")
        # Lab opens its launcher a moment later, and that takes the focus.
        page.wait_for_function("() => document.querySelector('.jp-Launcher')?.contains(document.activeElement)")
        command(page, "apputils:change-theme", {"theme": THEMES[theme]})
        expect(page.locator(f"body[data-jp-theme-name='{THEMES[theme]}']")).to_have_count(1)
        expect(page.locator("#jupyterlab-splash")).to_have_count(0)  # a change of theme shows it again
        yield page
        assert outside == [], f"the page spoke to somebody else: {outside}"
        assert thrown == [], f"the page threw errors: {thrown}"
        context.close()

    def open(self, page: Page, path: str) -> None:
        """Open a notebook of the root and wait until its kernel answers."""
        command(page, "docmanager:open", {"path": path, "factory": "Notebook"})
        page.evaluate(
            "async () => { const { sessionContext } = window.jupyterapp.shell.currentWidget;"
            " await sessionContext.ready; await sessionContext.session.kernel.info; }"
        )

    def run_all(self, page: Page, timeout_s: float = 120) -> None:
        """Run every cell and wait for the last one; a cell that raises ends it, as in Lab itself."""
        self.start_all(page)
        self.wait_idle(page, timeout_s)

    def start_all(self, page: Page) -> None:
        """Run every cell without waiting."""
        page.evaluate(
            "() => { window.ran = false;"
            " const { commands } = window.jupyterapp;"
            " void commands.execute('notebook:run-all-cells').finally(() => { window.ran = true; }); }"
        )

    def wait_idle(self, page: Page, timeout_s: float = 120) -> None:
        """Wait until the cells that were started have run."""
        page.wait_for_function("() => window.ran === true", timeout=timeout_s * 1000)

    def errors(self, page: Page) -> list[str]:
        """What the cells of the open notebook raised."""
        return page.evaluate(
            "() => [...window.jupyterapp.shell.currentWidget.content.model.cells]"
            ".flatMap(cell => cell.toJSON().outputs ?? []).filter(output => output.output_type === 'error')"
            ".map(error => `${error.ename}: ${error.evalue}`)"
        )

    def panel(self, page: Page) -> Any:
        """Open the side panel; a locator of it."""
        command(page, "aiinfra-lab:open")
        return page.locator("#aiinfra-lab-panel")


@contextmanager
def started(playwright: Playwright, folder: Path, root: Path) -> Iterator[Lab]:
    """JupyterLab on a workspace in `root`, with its own settings in `folder`; both end with the block."""
    assert (ROOT / "aiinfra_lab/labextension/package.json").exists(), "build the front end first: make front"
    (root / "aiinfra.toml").touch()
    options = ("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly")
    expect.set_options(timeout=PATIENCE_S * 1000)
    served = serve("jupyterlab", folder, root, *options)
    try:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            yield Lab(served, browser)
        finally:
            browser.close()
    finally:
        served.stop()


def command(page: Page, name: str, arguments: dict[str, Any] | None = None) -> None:
    """Run a command of Lab and wait for it."""
    page.evaluate(
        "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => true)", [name, arguments or {}]
    )


def faults(page: Page, selector: str) -> list[str]:
    """What axe finds wrong with a part of the page, with the places."""
    if not page.evaluate("() => 'axe' in window"):
        page.add_script_tag(path=AXE)
    found = page.evaluate("async selector => (await axe.run(selector)).violations", selector)
    return [f"{fault['id']}: {node['html'][:200]}" for fault in found for node in fault["nodes"]]


def screenshot(page: Page, name: str) -> Path:
    """A picture in build/screenshots/, to be looked at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    return SCREENSHOTS / f"{name}.png"


def is_here(url: str) -> bool:
    """Whether a request stays on this machine, or in the page."""
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob") or parts.hostname in ("127.0.0.1", "localhost")


def notebook(path: Path, *cells: str) -> Path:
    """Write a notebook with these code cells."""
    import nbformat
    from nbformat import v4

    book = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(nbformat.writes(book))
    return path


def end_all() -> None:
    """Ask every live job of this process's workspace to end, and wait for it."""
    for job in jobs.ls(live=True):
        jobs.cancel(job.id)
    until(lambda: not jobs.ls(live=True), "a job does not end")
