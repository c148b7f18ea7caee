"""The tour in a real JupyterLab: every cell runs, and what it shows is there when the file is opened again."""

import json
import shutil

import pytest

from tests.browser.lab import screenshot
from tests.browser.serving import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow]  # papermill runs the tour in tests/notebooks too


def test_the_tour_runs_in_jupyterlab(in_lab):
    shutil.copy(ROOT / "notebooks/00-tour.ipynb", in_lab.root)
    with in_lab.page(height=2400) as page:
        in_lab.open(page, "00-tour.ipynb")
        in_lab.run_all(page, timeout_s=600)
        assert in_lab.errors(page) == []
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_timeout(1000)
        for cell, name in ((0, "tour-top"), (11, "tour-middle"), (25, "tour-end")):
            page.evaluate("cell => window.jupyterapp.shell.currentWidget.content.scrollToItem(cell, 'start')", cell)
            page.wait_for_timeout(1500)  # JupyterLab draws only what is to be seen, when it is
            screenshot(page, name)
    saved = json.loads((in_lab.root / "00-tour.ipynb").read_text())
    kinds = {kind for cell in saved["cells"] for output in cell.get("outputs", ()) for kind in output.get("data", {})}
    assert kinds <= {"text/plain", "text/html", "image/png"}
    with in_lab.page("dark", height=2400) as page:
        in_lab.open(page, "00-tour.ipynb")
        screenshot(page, "tour-reopened-dark")
