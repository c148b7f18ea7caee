"""Results in a real JupyterLab: what its sanitizer leaves of them, what axe finds, and how errors are drawn."""

import time

import pytest
from playwright.sync_api import Page, expect

from aiinfra_lab.gpu import Session
from aiinfra_lab.gpu.base import AcceleratorUse
from aiinfra_lab.show import Card, Plots, StateMark, Table, graph
from aiinfra_lab.show.graph import Node
from aiinfra_lab.show.states import LIVING, STATES
from tests.browser.lab import THEMES_FOR_AXE, Lab, faults, notebook, screenshot
from tests.core.test_show import FULL

pytestmark = pytest.mark.browser

STARRED = StateMark("★", "best", "good")
MARKS = Card(
    kind="Session",
    uri="gpu:trainer",
    state=STATES["cannot tell"],
    parts=[Table(("name", "state"), [(mark.word, mark) for mark in (LIVING, STARRED, *STATES.values())], most=99)],
)
CHAIN = [(f"n{at}", f"n{at + 1}") for at in range(4)]
CARDS = {"full": FULL, "marks": MARKS}
SHOW = """from IPython.display import display
display({"text/html": %r, "text/plain": ""}, raw=True)"""
IS_COLOUR = """(card, ink) => { const probe = document.createElement('i'); probe.style.color = ink; card.append(probe);
    const found = getComputedStyle(probe).color; probe.remove(); return getComputedStyle(card).color === found; }"""
IN_CODE = """from aiinfra_lab.train.code import CodeFailed
raise CodeFailed("train:x@1 failed in line 1", "correct it", "Traceback:\\n  line 1")"""
OF_ANOTHER_PACKAGE = """from aiinfra_lab.errors import Conflict
class Taken(Conflict): ...
raise Taken("the machine is taken", "take another one")"""
ERRORS = (
    "%load_ext aiinfra_lab",
    "%data show nothing",
    "1 / 0",
    "%data shw x",
    IN_CODE,
    OF_ANOTHER_PACKAGE,
    "!ls /nowhere",
)


def left_by_sanitizer(page: Page, html: str) -> tuple[str, str]:
    """A markup as a browser reads it, before and after JupyterLab's sanitizer has been over it."""
    return tuple(
        page.evaluate(
            """html => {
                const read = text => { const box = document.createElement('template'); box.innerHTML = text;
                    return box.innerHTML; };
                const { sanitizer } = window.jupyterapp.shell.currentWidget.content.rendermime;
                return [read(html), read(sanitizer.sanitize(html)).replaceAll(' rel="nofollow"', '')];
            }""",
            html,
        )
    )


@pytest.mark.parametrize("name", CARDS)
def test_the_sanitizer_leaves_a_card_as_it_is(in_lab: Lab, name: str) -> None:
    notebook(in_lab.root / "empty.ipynb", "1")
    with in_lab.page() as page:
        in_lab.open(page, "empty.ipynb")
        before, after = left_by_sanitizer(page, CARDS[name].html())
        assert after == before


@pytest.mark.parametrize("theme", THEMES_FOR_AXE)  # mark.slow, all but the first
def test_axe_finds_nothing_wrong_with_cards(in_lab: Lab, theme: str) -> None:
    notebook(in_lab.root / "cards.ipynb", *(SHOW % card.html() for card in CARDS.values()))
    with in_lab.page(theme, height=1600) as page:
        in_lab.open(page, "cards.ipynb")
        in_lab.run_all(page)
        expect(page.locator(".aiinfra-card")).to_have_count(len(CARDS))
        ink = page.evaluate("() => getComputedStyle(document.body).getPropertyValue('--jp-content-font-color0')")
        assert page.locator(".aiinfra-card").first.evaluate(IS_COLOUR, ink)
        screenshot(page, f"cards-{theme}")
        assert faults(page, ".aiinfra-card") == []


def test_a_card_keeps_within_a_narrow_notebook(in_lab: Lab) -> None:
    notebook(in_lab.root / "narrow.ipynb", SHOW % FULL.html())
    with in_lab.page(width=620) as page:
        in_lab.open(page, "narrow.ipynb")
        in_lab.run_all(page)
        wide = "card => card.scrollWidth > card.clientWidth"
        assert not page.locator(".aiinfra-card").evaluate(wide)


GRAPH = Card(
    kind="Lineage",
    uri="deploy:delay",
    parts=[Plots([graph.draw([Node(f"n{at}", f"node {at}") for at in range(5)], CHAIN, alt="five nodes in a row")])],
)
WIDTHS = "node => ({ shown: node.getBoundingClientRect().width, whole: node.naturalWidth })"
OVER = "node => node.scrollWidth - node.clientWidth"


def test_a_graph_keeps_its_size_in_a_narrow_notebook_and_scrolls_in_its_own_box(in_lab: Lab) -> None:
    notebook(in_lab.root / "graph.ipynb", SHOW % GRAPH.html())
    with in_lab.page(width=820) as page:
        in_lab.open(page, "graph.ipynb")
        in_lab.run_all(page)
        width = page.locator(".aiinfra-plots img").evaluate(WIDTHS)
        assert width["shown"] == width["whole"] > 600
        assert page.locator(".aiinfra-plots").evaluate(OVER) > 0
        assert page.locator(".aiinfra-card").evaluate(OVER) <= 0


SPENDING = Session(
    uri="gpu:trainer", state="running", gpu="A10G", on="aws", kernel="aiinfra-trainer", started_at=time.time() - 3000,
    ended_at=None, deadline_at=time.time() + 4200, hourly_usd=1.006, spent_usd=0.84, budget_usd=5.0, spot=False,
    idle_s=1200.0, used_at=time.time() - 300, accelerator=AcceleratorUse(0.86, 18.2, 24.0),
)  # fmt: skip
CUT = """(scroll, selector) => [...scroll.querySelectorAll(selector)].filter(
    each => each.getBoundingClientRect().right > scroll.getBoundingClientRect().right + 0.5).length"""


@pytest.mark.parametrize("width", [820, 1280])
def test_the_meters_of_a_session_are_whole_in_a_narrow_notebook(in_lab: Lab, width: int) -> None:
    notebook(in_lab.root / "meters.ipynb", SHOW % SPENDING.card().html())
    with in_lab.page(width=width) as page:
        in_lab.open(page, "meters.ipynb")
        in_lab.run_all(page)
        table = page.locator(".aiinfra-scroll:has(meter)")
        meters = table.locator("meter")
        expect(meters.first).to_be_visible()
        screenshot(page, f"meters-{width}")
        assert table.evaluate(CUT, "meter, td") == 0
        assert table.evaluate(OVER) <= 0
        assert min(meter.bounding_box()["width"] for meter in meters.all()) >= (60 if width < 1000 else 150)


@pytest.mark.parametrize(("theme", "width"), [("light", 700), pytest.param("dark", 1400, marks=pytest.mark.slow)])
def test_a_help_is_a_table_that_wraps_at_words(in_lab: Lab, theme: str, width: int) -> None:
    path = notebook(in_lab.root / f"help-{theme}.ipynb", "%load_ext aiinfra_lab", "%train run --help", "%gpu --help")
    with in_lab.page(theme, width=width, height=1800) as page:
        page.evaluate("() => window.jupyterapp.shell.collapseLeft()")  # of 700 the card has about 560 then
        in_lab.open(page, path.name)
        in_lab.run_all(page)
        cards = page.locator(".aiinfra-card")
        expect(cards).to_have_count(2)
        expect(cards.first.get_by_role("rowheader", name="--seed")).to_be_visible()
        screenshot(page, f"help-{theme}")
        assert [card.evaluate(OVER) for card in cards.all()] == [0, 0]
        assert [part.evaluate(OVER) for part in page.locator(".aiinfra-scroll, .aiinfra-card pre").all()] == [0] * 4
        assert page.locator(".aiinfra-card pre").first.evaluate("node => getComputedStyle(node).wordBreak") == "normal"
        assert faults(page, ".aiinfra-card") == []


@pytest.mark.parametrize("theme", THEMES_FOR_AXE)  # mark.slow, all but the first
def test_our_errors_are_cards_and_all_others_are_not(in_lab: Lab, theme: str) -> None:
    path = notebook(in_lab.root / f"errors-{theme}.ipynb", *ERRORS)
    with in_lab.page(theme) as page:
        in_lab.open(page, path.name)
        for cell in range(len(ERRORS)):
            page.evaluate(
                "async cell => { const { content } = window.jupyterapp.shell.currentWidget;"
                " content.activeCellIndex = cell;"
                " await window.jupyterapp.commands.execute('notebook:run-cell'); }",
                cell,
            )
        cards = page.locator(".aiinfra-card")
        expect(cards).to_have_count(4)
        expect(cards.nth(3)).to_contain_text("✕ failed The machine is taken")
        expect(cards.nth(2)).to_contain_text("✕ failed train:x@1 failed in line 1")
        expect(cards.nth(2).locator("pre")).to_be_hidden()
        cards.nth(2).get_by_text("where in the code").click()
        expect(cards.nth(2).locator("pre")).to_have_text("Traceback:\n  line 1")
        expect(cards.nth(0)).to_contain_text("✕ not found There is no data:nothing")
        expect(cards.nth(0)).to_contain_text("Fix:")
        expect(cards.nth(1)).to_contain_text("✕ not understood")
        expect(page.get_by_text("ZeroDivisionError", exact=False).first).to_be_visible()
        screenshot(page, f"errors-{theme}")
        assert faults(page, ".aiinfra-card") == []
        assert [text.split(":")[0] for text in in_lab.errors(page)] == [
            "NotFound", "ZeroDivisionError", "UsageProblem", "CodeFailed", "Taken",
        ]  # fmt: skip
