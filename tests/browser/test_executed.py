"""From the card of a run to the notebook that a step has executed, with the keys alone."""

import re

import pytest
from playwright.sync_api import Page, Request, expect

from aiinfra_lab import recipe
from tests.browser.lab import Lab, faults, is_here, notebook, screenshot

pytestmark = pytest.mark.browser

RECIPE = """[steps.table]
notebook = "table.ipynb"
[steps.ratio]
notebook = "ratio.ipynb"
after = ["table"]
"""
TABLE = """import pandas as pd
pd.DataFrame({"month": ["April", "May"], "delay": [12.5, 9.0]})"""
SCRIPT = """from IPython.display import HTML
HTML("<b>shown</b><script>document.title = 'taken'</script><img alt='far' src='https://example.org/a.png'>")"""


@pytest.fixture
def failed(in_lab: Lab) -> Lab:
    """The lab with a run of two steps, of which the second has failed far down, and a notebook that shows it."""
    for folder in ("notebooks", "recipes"):
        (in_lab.root / folder).mkdir(exist_ok=True)
    (in_lab.root / "recipes/two.toml").write_text(RECIPE)
    notebook(in_lab.root / "notebooks/table.ipynb", TABLE)
    notebook(in_lab.root / "notebooks/ratio.ipynb", SCRIPT, "for i in range(200): print(i)", "1 / 0")
    run = recipe.run("two", report=True)
    notebook(in_lab.root / "see.ipynb", "%load_ext aiinfra_lab", f"%recipe show {run}")
    return in_lab


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_step_in_a_card_opens_its_executed_notebook(failed: Lab, theme: str) -> None:
    with failed.page(theme, height=900) as page:
        failed.open(page, "see.ipynb")
        failed.run_all(page)
        link = page.get_by_role("rowheader", name="ratio").get_by_role("link")
        expect(link).to_be_visible()
        link.focus()
        screenshot(page, f"executed-link-{theme}")
        assert faults(page, ".aiinfra-card") == []
        asked: list[Request] = []
        page.context.on("request", lambda request: asked.append(request))  # noqa: PLW0108  # Playwright marks it
        with page.context.expect_page() as opened:
            page.keyboard.press("Enter")
        opened.value.wait_for_load_state()
        look(opened.value, theme)
        far = [request for request in asked if not is_here(request.url)]
        assert [(request.url, request.failure) for request in far] == [("https://example.org/a.png", "csp")]


def look(page: Page, theme: str) -> None:
    """At the cell that failed, as it was, and nothing that it put out has run."""
    assert re.fullmatch(r"recipe:two@\d+/ratio", page.title())
    expect(page.locator("#failed-cell")).to_be_in_viewport()
    expect(page.get_by_text("ZeroDivisionError: division by zero").last).to_be_in_viewport()
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "true" if theme == "light" else "false")
    screenshot(page, f"executed-failed-{theme}")
    page.keyboard.press("Home")
    expect(page.get_by_text("Executed notebook", exact=True)).to_be_in_viewport()
    screenshot(page, f"executed-top-{theme}")
