"""A recipe with a matrix and a schedule in a real JupyterLab: the card of its run, and its row in the panel."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Lab, notebook, screenshot
from tests.browser.panel import opener, stopper
from tests.browser.things import leave

pytestmark = pytest.mark.browser

RECIPE = """
title = "Rates of learning"
[parameters]
months = [4, 5]
[steps.fit]
notebook = "fit.ipynb"
matrix = { month = "${params.months}", lr = [0.1, 0.01] }
out = { table = "build/fit-${matrix.month}-${matrix.lr}.txt" }
[steps.compare]
notebook = "compare.ipynb"
in = { tables = "fit.table" }
[schedule]
cron = "0 2 * * *"
tz = "Europe/Berlin"
"""
FIT = "from aiinfra_lab import recipe\nrecipe.outputs.table.write_text(f'{month} {lr}')"


def _with_parameters(path: Path, parameters: str, code: str) -> None:
    notebook(path, parameters, code)
    content = json.loads(path.read_text())
    content["cells"][0]["metadata"]["tags"] = ["parameters"]
    path.write_text(json.dumps(content))


def test_a_matrix_runs_and_its_schedule_is_paused_from_the_panel(own_lab: Lab) -> None:
    for folder in ("recipes", "notebooks"):
        (own_lab.root / folder).mkdir(exist_ok=True)
    (own_lab.root / "recipes/rates.toml").write_text(RECIPE)
    _with_parameters(own_lab.root / "notebooks/fit.ipynb", "month: int = 0\nlr: float = 0.0", FIT)
    _with_parameters(own_lab.root / "notebooks/compare.ipynb", "tables: list[str] = []", "len(tables)")
    notebook(own_lab.root / "use.ipynb", "%load_ext aiinfra_lab", "%recipe run rates", "%recipe start rates")
    with own_lab.page(height=1500) as page:
        own_lab.open(page, "use.ipynb")
        own_lab.run_all(page)
        assert own_lab.errors(page) == []
        card = page.locator(".jp-OutputArea-output").filter(has_text="fit-4-0_01")
        expect(card.first).to_contain_text("build/fit-5-0.1.txt")
        panel = own_lab.panel(page)
        expect(panel.get_by_role("list", name="Recipes")).to_contain_text("02:00")
        opener(panel, "rates").click()
        expect(panel).to_contain_text("At 02:00 every day (Europe/Berlin)")
        screenshot(page, "schedule-light")
        # No formula of what stands between two dollars.
        expect(page.locator("mjx-container")).to_have_count(0)
        expect(page.locator(".jp-OutputArea-output").last).to_contain_text("fit-${matrix.month}-${matrix.lr}.txt")
        stopper(panel, "rates").click()
        leave(page)
        expect(panel.get_by_role("list", name="Recipes")).to_have_count(0)
    with own_lab.page("dark", height=1500) as page:
        own_lab.open(page, "use.ipynb")
        screenshot(page, "schedule-dark")
