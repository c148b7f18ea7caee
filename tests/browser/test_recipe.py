"""The notebook of recipes in a real JupyterLab: alone, with months of retraining."""

import json

import pytest

from aiinfra_lab import lab
from tests.browser.lab import screenshot

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NOTEBOOK = "notebooks/09-recipe.ipynb"


def test_months_of_retraining_run_in_jupyterlab(own_lab):
    lab.start(own_lab.root, from_="example:flights")
    with own_lab.page(height=2400) as page:
        own_lab.open(page, NOTEBOOK)
        own_lab.run_all(page, timeout_s=900)
        assert own_lab.errors(page) == []
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_timeout(1000)
    saved = json.loads((own_lab.root / NOTEBOOK).read_text())
    sources = ["".join(cell["source"]) for cell in saved["cells"]]
    run, picture = (
        next(at for at, source in enumerate(sources) if text in source)
        for text in ("winter = %recipe run", "axes.errorbar")
    )
    for theme in ("light", "dark"):
        with own_lab.page(theme, height=1600) as page:
            own_lab.open(page, NOTEBOOK)
            for cell, name in ((run, "recipe-run"), (picture, "recipe-year")):
                page.evaluate("cell => window.jupyterapp.shell.currentWidget.content.scrollToItem(cell, 'start')", cell)
                page.wait_for_timeout(1500)  # JupyterLab draws only what is to be seen, when it is
                screenshot(page, f"{name}-{theme}")
    outputs = [output for cell in saved["cells"] for output in cell.get("outputs", ()) if "data" in output]
    assert [output for output in outputs if "image/png" in output["data"]]
    last = "".join(outputs[-1]["data"]["text/plain"])
    assert last.startswith("Endpoint deploy:delay  ■ stopped")
