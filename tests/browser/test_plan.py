"""The plan of a recipe's next run in the panel: that of the dry run, by the keys alone, whenever somebody asks."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from aiinfra_lab import recipe
from tests.browser.lab import THEMES_FOR_AXE, Lab, faults, notebook, screenshot
from tests.browser.panel import look, looked, opener, row, shown
from tests.browser.things import Server, thing, widen

pytestmark = pytest.mark.browser

PLAN = "Plan of the next run"
RECIPE = """[steps.count]
notebook = "count.ipynb"
in = { table = "table.csv" }
[steps.tell]
notebook = "tell.ipynb"
after = ["count"]
"""
CARD = """<section class='aiinfra-card'><p class='aiinfra-lead'>1 step would run.</p>
<script>window.ran = 1</script></section>"""


def pressed(panel: Locator, name: str) -> Locator:
    """The plan in the row of that name, asked for by the keys; the row is opened for it."""
    if opener(panel, name).get_attribute("aria-expanded") == "false":
        opener(panel, name).press("Enter")
    panel.get_by_role("button", name=PLAN).press("Enter")
    return row(panel, name).locator(".aiinfra-Item-plan")


@pytest.mark.slow
def test_it_is_the_card_of_the_dry_run(own_lab: Lab) -> None:
    for folder in ("notebooks", "recipes"):
        (own_lab.root / folder).mkdir()
    table = own_lab.root / "table.csv"
    table.write_text("1,2")
    (own_lab.root / "recipes/flights.toml").write_text(RECIPE)
    _tagged(notebook(own_lab.root / "notebooks/count.ipynb", "table = ''"))
    notebook(own_lab.root / "notebooks/tell.ipynb", "1")
    recipe.run("flights")
    table.write_text("1,2,3")
    html = recipe.run("flights@1", dry=True).card().html()
    for theme in ("light", "dark"):
        table.write_text("1,2,3")
        with own_lab.page(theme, height=1100) as page:
            panel = own_lab.panel(page)
            widen(page, 330)
            plan = pressed(panel, "flights@1")
            expect(plan).to_contain_text("table.csv changed")
            assert plan.locator(".aiinfra-card").text_content() == _text(page, html)
            expect(panel.get_by_role("button", name=PLAN)).to_be_focused()
            assert faults(page, "#aiinfra-lab-panel") == []
            screenshot(page, f"plan-{theme}")
            widen(page, 700)
            expect(plan.locator("img")).to_be_visible()
            screenshot(page, f"plan-wide-{theme}")
            table.unlink()
            expect(pressed(panel, "flights@1")).to_contain_text("Fix:")
            screenshot(page, f"plan-error-{theme}")


def _tagged(path: Path) -> None:
    """Its first cell takes the parameters."""
    content = json.loads(path.read_text())
    content["cells"][0]["metadata"]["tags"] = ["parameters"]
    path.write_text(json.dumps(content))


def _text(page: Page, html: str) -> str:
    return page.evaluate("html => new DOMParser().parseFromString(html, 'text/html').body.textContent", html)


def test_it_is_asked_for_when_somebody_asks_and_at_no_look(page: Page) -> None:
    server = Server([thing("recipe:flights@3", "done"), thing("data:weather@1", "done")])
    server.details = {"recipe:flights@3": {"has_plan": True}}
    server.plan = (200, {"text/html": CARD, "text/plain": "1 step would run."})
    panel = shown(page, server)
    opener(panel, "flights@3").press("Enter")
    expect(panel.get_by_role("button", name=PLAN)).to_be_visible()
    looked(page, server)
    assert server.planned == []
    plan = pressed(panel, "flights@3")
    expect(plan).to_contain_text("1 step would run.")
    expect(plan).to_contain_text("as of ")
    expect(row(panel, "flights@3").get_by_role("status")).to_have_text("1 step would run.")
    for _ in range(2):
        look(page)
        looked(page, server)
    expect(plan).to_contain_text("1 step would run.")
    assert server.planned == ["recipe:flights@3"]
    assert page.evaluate("() => window.ran") is None
    pressed(panel, "flights@3")
    expect(plan).to_contain_text("1 step would run.")
    assert server.planned == 2 * ["recipe:flights@3"]
    opener(panel, "weather@1").press("Enter")
    expect(row(panel, "weather@1")).to_contain_text("started")
    expect(panel.get_by_role("button", name=PLAN)).to_have_count(0)


@pytest.mark.parametrize("theme", THEMES_FOR_AXE)  # mark.slow, all but the first
def test_why_there_is_none_stands_in_its_place_with_the_fix(lab: Lab, theme: str) -> None:
    with lab.page(theme) as page:
        server = Server([thing("recipe:flights@3", "failed", is_live=False)])
        server.details = {"recipe:flights@3": {"has_plan": True}}
        server.plan = (
            400,
            {"error": "UsageProblem", "what": "there is no file table.csv", "fix": "`%data get` makes it"},
        )
        panel = shown(page, server)
        plan = pressed(panel, "flights@3")
        expect(plan).to_have_text("✕ there is no file table.csvFix: %data get makes it")
        expect(plan.locator("code")).to_have_text("%data get")
        expect(panel.get_by_role("button", name=PLAN)).to_be_focused()
        assert faults(page, "#aiinfra-lab-panel") == []
        server.plan = (200, {"text/html": CARD, "text/plain": ""})
        expect(pressed(panel, "flights@3")).to_contain_text("1 step would run.")
        expect(plan).not_to_contain_text("Fix:")
