"""The forecast's notebook in a real JupyterLab: alone, with what it needs prepared by itself."""

import json

import pytest

from aiinfra_lab import lab
from tests.browser.lab import screenshot

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_forecast_of_ten_million_requests_a_day_runs_in_jupyterlab(in_lab):
    lab.start(in_lab.root, from_="example:flights")
    with in_lab.page(height=2400) as page:
        in_lab.open(page, "notebooks/08-cost.ipynb")
        in_lab.run_all(page, timeout_s=900)
        assert in_lab.errors(page) == []
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_timeout(1000)
        for cell, name in ((8, "cost-forecast"), (10, "cost-more"), (14, "cost-check")):
            page.evaluate("cell => window.jupyterapp.shell.currentWidget.content.scrollToItem(cell, 'start')", cell)
            page.wait_for_timeout(1500)  # JupyterLab draws only what is to be seen, when it is
            screenshot(page, name)
    saved = json.loads((in_lab.root / "notebooks/08-cost.ipynb").read_text())
    texts = [
        "".join(output["data"]["text/plain"])
        for cell in saved["cells"]
        for output in cell.get("outputs", ())
        if "data" in output
    ]
    assert len([text for text in texts if text.startswith("Forecast deploy:delay")]) == 3
