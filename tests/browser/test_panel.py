"""The side panel in a real JupyterLab: what it lists, and a Stop that works while the kernel is busy."""

import sys
import time

import pytest
from playwright.sync_api import Route, expect

from aiinfra_lab import jobs
from tests.browser.lab import THEMES_FOR_AXE, Lab, faults, notebook, screenshot
from tests.browser.things import leave
from tests.conftest import PATIENCE_S, until

pytestmark = pytest.mark.browser

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = """import signal, time
from aiinfra_lab import jobs
signal.signal(signal.SIGTERM, signal.SIG_IGN)
jobs.beat()
time.sleep(600)"""
BUSY = """import time
from aiinfra_lab import jobs
with jobs.here("train:busy@1") as job:
    while not job.stop_requested():
        time.sleep(0.05)
print("ended by the panel")"""


def test_stop_works_while_the_kernel_is_busy(in_lab: Lab) -> None:
    notebook(in_lab.root / "busy.ipynb", BUSY)
    with in_lab.page() as page:
        in_lab.open(page, "busy.ipynb")
        in_lab.start_all(page)
        stop = in_lab.panel(page).get_by_role("button", name="Stop training run busy@1")
        expect(stop).to_be_visible()
        expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status='busy']")).to_have_count(1)
        screenshot(page, "panel-busy")
        stop.click()
        in_lab.wait_idle(page)
        expect(page.locator(".jp-OutputArea-output")).to_contain_text("ended by the panel")
        leave(page)
        expect(in_lab.panel(page).get_by_role("list", name="Recently ended")).to_contain_text("busy@1")
        expect(in_lab.panel(page).get_by_role("list", name="Recently ended")).to_contain_text("stopped")


@pytest.mark.parametrize("theme", THEMES_FOR_AXE)  # mark.slow, all but the first
def test_the_panel_by_keyboard_and_by_axe(in_lab: Lab, theme: str) -> None:
    endpoint = jobs.start("deploy:delay", SLEEP)
    session = jobs.start("gpu:trainer", SLEEP, deadline_s=7200)
    jobs.wait(jobs.start("recipe:broken", [sys.executable, "-c", "raise SystemExit(3)"]).id, timeout_s=PATIENCE_S)
    until(lambda: jobs.poll(session.id).state == "running", "the session does not run")
    with in_lab.page(theme) as page:
        panel = in_lab.panel(page)
        expect(panel.get_by_role("status")).to_have_text("2 live")
        expect(panel).to_contain_text("exit code 3")
        assert faults(page, "#aiinfra-lab-panel") == []
        for kind, name in (
            *(
                ("searchbox", "Filter"),
                ("button", "Sessions 1"),
                ("button", "trainer"),
                ("button", "Stop session trainer"),
            ),
            *(("button", "Endpoints 1"), ("button", "delay"), ("button", "Stop endpoint delay")),
        ):
            page.keyboard.press("Tab")
            expect(panel.get_by_role(kind, name=name).first).to_be_focused()  # type: ignore[arg-type]
        screenshot(page, f"panel-{theme}")
        page.keyboard.press("Enter")
        expect(panel.get_by_role("button", name="Keep it")).to_be_focused()
        assert faults(page, "#aiinfra-lab-panel") == []
        page.wait_for_timeout(500)
        panel.get_by_role("button", name="Stop", exact=True).press("Enter")
        ended = panel.get_by_role("button", name="Stopped endpoint delay")
        expect(ended).to_be_focused()  # it stays where it was, and a further Enter presses nothing
        page.keyboard.press("Enter")
        leave(page)
        expect(panel.get_by_role("list", name="Recently ended")).to_contain_text("delay")
        assert faults(page, "#aiinfra-lab-panel") == []
    assert jobs.poll(endpoint.id).state == "stopped"
    assert jobs.poll(session.id).live


def test_stop_says_that_it_waits_and_keeps_the_focus(in_lab: Lab) -> None:
    job = jobs.start("train:stubborn@1", [sys.executable, "-c", STUBBORN])
    with in_lab.page() as page:
        panel = in_lab.panel(page)
        stop = panel.get_by_role("button", name="Stop training run stubborn@1")
        until(lambda: jobs.poll(job.id).silent_s is not None, "the job does not run")
        stop.press("Enter")
        waits = panel.get_by_role("button", name="Stopping training run stubborn@1")
        expect(waits).to_have_attribute("aria-disabled", "true")
        expect(waits).to_be_focused()
        expect(panel.get_by_role("status")).to_contain_text("stopping stubborn@1")
        screenshot(page, "panel-stopping")
        expect(panel.get_by_role("button", name="Stopped training run stubborn@1")).to_be_focused()
        leave(page)
        expect(panel.get_by_role("list", name="Recently ended")).to_contain_text("stubborn@1")


def test_an_opened_row_shows_the_end_of_a_real_log(in_lab: Lab) -> None:
    job = jobs.start("train:loud@1", [sys.executable, "-c", "raise SystemExit('no such rows')"])
    jobs.wait(job.id, timeout_s=PATIENCE_S)
    with in_lab.page() as page:
        panel = in_lab.panel(page)
        panel.get_by_role("button", name="loud@1").click()
        expect(panel.locator(".aiinfra-Log")).to_have_text("no such rows")
        expect(panel.locator(".aiinfra-Item-why").first).to_have_text("✕ failed no such rows")


def test_an_empty_panel_says_that_nothing_costs_and_what_to_run(in_lab: Lab) -> None:
    notebook(in_lab.root / "fresh.ipynb", "")
    step = {"text": "A kernel", "code": "%gpu start trainer"}
    with in_lab.page() as page:
        in_lab.open(page, "fresh.ipynb")
        answer = {"rev": 0, "workspace": "w", "items": [], "steps": [step]}
        page.route("**/aiinfra/items*", lambda route: route.fulfill(json=answer))
        panel = in_lab.panel(page)
        expect(panel).to_contain_text("nothing costs money")
        assert faults(page, "#aiinfra-lab-panel") == []
        screenshot(page, "panel-empty")
        panel.get_by_role("button", name="Insert %gpu start trainer").click()
        expect(page.locator(".jp-Notebook .cm-content", has_text="%gpu start trainer")).to_have_count(1)


def test_a_server_without_our_half_is_asked_once(in_lab: Lab) -> None:
    asked: list[float] = []

    def refuse(route: Route) -> None:
        asked.append(time.monotonic())
        route.fulfill(status=404, json={"message": "Not Found"})

    with in_lab.page() as page:
        page.route("**/aiinfra/items*", refuse)
        panel = in_lab.panel(page)
        expect(panel.get_by_role("alert")).to_contain_text("The server half is missing")
        before = len(asked)
        page.wait_for_timeout(5000)
        assert len(asked) == before == 1
        assert faults(page, "#aiinfra-lab-panel") == []
        screenshot(page, "panel-no-server")
        page.unroute("**/aiinfra/items*")
        panel.get_by_role("button", name="Try again").click()
        expect(panel.get_by_role("status")).to_contain_text("live")
        expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()


def test_a_server_that_is_gone_is_asked_again_and_what_is_shown_is_called_old(in_lab: Lab) -> None:
    jobs.start("gpu:theirs", SLEEP)
    with in_lab.page() as page:
        panel = in_lab.panel(page)
        expect(panel.get_by_role("status")).to_have_text("1 live")
        page.route("**/aiinfra/items*", lambda route: route.abort())
        expect(panel.get_by_role("alert")).to_contain_text("The server does not answer.")
        expect(panel.get_by_role("alert")).to_contain_text("Shown is the state of")
        expect(panel.get_by_role("status")).to_contain_text("not connected")
        expect(panel.locator(".aiinfra-Panel-price")).to_contain_text("≥")
        assert panel.get_attribute("data-stale") == "true"
        expect(panel.get_by_role("button", name="Stop session theirs")).to_be_visible()
        assert faults(page, "#aiinfra-lab-panel") == []
        page.unroute("**/aiinfra/items*")
        expect(panel.get_by_role("status")).to_contain_text("live")
        expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()
        assert panel.get_attribute("data-stale") is None


def test_a_stop_that_is_refused_says_why(in_lab: Lab) -> None:
    refused = {"error": "Denied", "what": "not yours", "fix": "ask its owner"}
    jobs.start("gpu:theirs", SLEEP)
    with in_lab.page() as page:
        page.route("**/gpu/stop*", lambda route: route.fulfill(status=403, json=refused))
        panel = in_lab.panel(page)
        panel.get_by_role("button", name="Stop session theirs").click()
        expect(panel.get_by_role("alert")).to_contain_text("session theirs was not stopped.not yours")
        expect(panel.get_by_role("alert")).to_contain_text("Fix: ask its owner")
        expect(panel.get_by_role("button", name="Stop session theirs")).to_have_attribute("aria-disabled", "false")


def test_a_refused_stop_is_told_until_it_has_ended_in_another_way(in_lab: Lab) -> None:
    refused = {"error": "Denied", "what": "not yours", "fix": "ask its owner"}
    job = jobs.start("gpu:theirs", SLEEP)
    with in_lab.page() as page:
        page.route("**/gpu/stop*", lambda route: route.fulfill(status=403, json=refused))
        panel = in_lab.panel(page)
        panel.get_by_role("button", name="Stop session theirs").click()
        expect(panel.get_by_role("alert")).to_contain_text("session theirs was not stopped")
        jobs.cancel(job.id)
        leave(page)
        expect(panel.get_by_role("list", name="Recently ended")).to_contain_text("theirs")
        expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()


def test_a_stop_that_nobody_answered_is_asked_about_once_the_server_answers(in_lab: Lab) -> None:
    job = jobs.start("gpu:unheard", SLEEP)
    with in_lab.page() as page:
        panel = in_lab.panel(page)
        stop = panel.get_by_role("button", name="Stop session unheard")
        expect(stop).to_be_visible()
        page.route("**/aiinfra/**", lambda route: route.abort())
        stop.click()
        expect(panel.get_by_role("alert")).to_contain_text("does not answer")
        expect(panel.get_by_role("list", name="Sessions")).to_contain_text("not known yet whether the request arrived")
        page.unroute("**/aiinfra/**")
        expect(panel.get_by_role("alert")).to_contain_text("session unheard was not stopped.")
        expect(panel.get_by_role("alert")).not_to_contain_text("Shown is the state of")
        leave(page)  # until then the banner lies over the row
        stop.click()
        leave(page)
        expect(panel.get_by_role("list", name="Recently ended")).to_contain_text("unheard")
        expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()
    assert jobs.poll(job.id).state == "stopped"


def lose_the_answer(route: Route) -> None:
    """The request arrives, and nobody learns of it."""
    route.fetch()
    route.fulfill(status=502, body="Bad Gateway")


def test_a_stop_whose_answer_is_lost_ends_the_thing_and_is_no_trouble(in_lab: Lab) -> None:
    job = jobs.start("gpu:unanswered", SLEEP)
    with in_lab.page() as page:
        panel = in_lab.panel(page)
        page.route("**/gpu/stop*", lose_the_answer)
        panel.get_by_role("button", name="Stop session unanswered").press("Enter")
        leave(page)
        expect(panel.get_by_role("list", name="Recently ended")).to_contain_text("unanswered")
        expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()
    assert jobs.poll(job.id).state == "stopped"


def test_an_act_whose_answer_is_lost_is_found_again_and_its_error_told(in_lab: Lab) -> None:
    act = {"verb": "check", "title": "Check", "question": "Check it?", "consequence": "It is read."}
    act |= {"instead": "", "flags": {}}
    jobs.start("data:theirs@1", SLEEP)

    def add_the_act(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        items = [{**item, "actions": [act]} if item["uri"] == "data:theirs@1" else item for item in answer["items"]]
        route.fulfill(response=response, json={**answer, "items": items})

    with in_lab.page() as page:
        page.route("**/aiinfra/items?*", add_the_act)
        page.route("**/data/check*", lose_the_answer)
        panel = in_lab.panel(page)
        panel.get_by_role("button", name="theirs@1").first.press("Enter")
        panel.get_by_role("button", name="Check…").press("Enter")
        page.wait_for_timeout(800)
        panel.get_by_role("button", name="Check", exact=True).press("Enter")
        expect(panel.get_by_role("alert")).to_contain_text("Check: not done.there is no data:theirs@1")
        page.unroute_all()  # else an answer that comes when the page is gone fails the next test
    assert len([job for job in jobs.ls() if job.subject.startswith("lab:call-data-check.")]) == 1


def test_a_hidden_panel_asks_nothing(in_lab: Lab) -> None:
    asked: list[str] = []
    with in_lab.page() as page:
        page.on("request", lambda request: asked.append(request.url) if "/aiinfra/" in request.url else None)
        page.wait_for_timeout(3000)
        assert asked == []
        in_lab.panel(page)
        until(lambda: page.wait_for_timeout(100) or asked, "an open panel asks")


def test_the_view_menu_opens_it(in_lab: Lab) -> None:
    with in_lab.page() as page:
        page.locator(".lm-MenuBar-itemLabel", has_text="View").click()
        page.locator(".lm-Menu-itemLabel", has_text="AI Infrastructure").click()
        expect(page.locator("#aiinfra-lab-panel")).to_be_visible()
