"""`python -m tests.browser.pictures [NOTEBOOK]`: the README's pictures, from a real JupyterLab that runs the tour."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

from tests.browser.lab import Lab, end_all, started
from tests.browser.serving import ROOT

PICTURES = ROOT / "docs/pictures"


def main(notebook: Path) -> None:
    """Run the notebook in a workspace of its own; write panel.png while it runs and result.png from what it shows."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        root, folder = Path(place, "flights"), Path(place, "lab")
        root.mkdir()
        (root / "aiinfra.toml").touch()
        folder.mkdir()
        shutil.copy(notebook, root)
        os.environ["AIINFRA_WORKSPACE"] = str(root)
        with started(playwright, folder, root) as lab:
            try:
                take(lab, notebook.name)
            finally:
                end_all()


def take(lab: Lab, name: str) -> None:
    """The panel while the endpoint lives, and the newest result with a picture once all has run."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with lab.page() as page:
        lab.open(page, name)
        endpoint = lab.panel(page).get_by_role("button", name="Stop endpoint").first
        lab.start_all(page)
        while not endpoint.is_visible():
            assert not page.evaluate("() => window.ran"), f"no endpoint came to life: {lab.errors(page)}"
            page.wait_for_timeout(500)
        show_newest(page)
        page.screenshot(path=PICTURES / "panel.png")
        lab.wait_idle(page, timeout_s=300)
        assert lab.errors(page) == []
        page.set_viewport_size({"width": 1280, "height": 1400})  # a result is pictured whole
        show_newest(page).screenshot(path=PICTURES / "result.png")


def show_newest(page: Page) -> Locator:
    """Scroll to the newest result with a picture, as somebody does who watches."""
    newest = page.locator(".aiinfra-card", has=page.locator("img")).last
    newest.scroll_into_view_if_needed()
    page.wait_for_timeout(500)  # what is being drawn, is drawn
    return newest


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "notebooks/00-tour.ipynb")
