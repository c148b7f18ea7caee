"""The side panel against servers that fail: what it then shows, what it says of what was asked, and how it heals."""

import contextlib
import json
import time
from typing import Any

import pytest
from playwright.sync_api import Error, Locator, Page, Route, expect

from tests.browser.lab import Lab, faults
from tests.browser.panel import look, looked, opener, row, shown, stopper
from tests.browser.things import Server, flights, thing
from tests.conftest import until

pytestmark = pytest.mark.browser
ARMED_MS = 800
HANGS_MS = 26_000  # longer than a look waits

LOGIN = {"body": "<!doctype html><title>Log in</title>", "content_type": "text/html"}
FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "a login page": (LOGIN, "HTML"),
    "nothing": ({"body": ""}, "text"),
    "an empty object": ({"json": {}}, "JSON"),
    "null": ({"body": "null"}, "JSON"),
    "rows of somebody else": ({"json": {"rev": 10**12, "workspace": "w", "items": [{"id": 1}]}}, "JSON"),
    "no rows": ({"json": {"rev": 10**12, "workspace": "w", "items": None}}, "JSON"),
}


# ---- answers that are not ours ----


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_answer_makes_what_is_shown_old_and_the_next_good_one_heals_it(page: Page, what: str) -> None:
    answer, kind = FOREIGN[what]
    server = Server(flights())
    panel = shown(page, server)
    asked: list[str] = []

    def pretend(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(**answer)

    page.unroute_all()
    page.route("**/aiinfra/**", pretend)
    look(page)
    expect(panel.get_by_role("alert")).to_contain_text(f"answered with something that is not ours ({kind})")
    expect(panel.get_by_role("alert")).to_contain_text("Fix: reload the page")
    assert panel.get_attribute("data-stale") == "true"
    until(lambda: page.wait_for_timeout(50) or len(asked) > 1, "it is asked once only")
    expect(row(panel, "trainer")).to_be_visible()
    server.put(thing("gpu:fresh"))
    server.serve(page)
    panel.get_by_role("button", name="Try now").click()
    expect(row(panel, "fresh")).to_be_visible()
    expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()
    assert panel.get_attribute("data-stale") is None
    expect(panel.get_by_role("status")).to_contain_text("11 live")


@pytest.mark.parametrize("what", ["a login page", "an empty object"])
def test_foreign_details_are_said_to_be_foreign_and_the_next_good_ones_are_shown(page: Page, what: str) -> None:
    answer, kind = FOREIGN[what]
    server = Server(flights())
    panel = shown(page, server)
    page.route("**/aiinfra/items/**", lambda route: route.fulfill(**answer))
    opener(panel, "delay").press("Enter")
    expect(row(panel, "delay")).to_contain_text(f"answered with something that is not ours ({kind})")
    page.unroute("**/aiinfra/items/**")
    expect(row(panel, "delay").get_by_role("table")).to_be_visible()
    page.route("**/aiinfra/items/**", lambda route: route.fulfill(**answer))
    page.wait_for_timeout(6000)  # looked at again meanwhile: what was shown stays
    expect(row(panel, "delay").get_by_role("table")).to_be_visible()


# ---- no answer at all ----


def test_a_server_that_hangs_makes_what_is_shown_old_and_is_asked_again(lab: Lab) -> None:
    hanging: list[Route] = []
    with lab.page(height=1100) as page:
        page.clock.install()
        server = Server(flights())
        panel = shown(page, server)
        page.unroute_all()
        page.route("**/aiinfra/items*", lambda route: hang(route, hanging))
        look(page)
        until(lambda: page.wait_for_timeout(50) or hanging)
        assert panel.get_attribute("data-stale") is None
        page.clock.fast_forward(HANGS_MS)
        expect(panel.get_by_role("alert")).to_contain_text("The server does not answer.")
        expect(panel.get_by_role("alert")).to_contain_text("Shown is the state of")
        assert panel.get_attribute("data-stale") == "true"
        until(lambda: page.wait_for_timeout(50) or len(hanging) > 1, "it is not asked again")
        server.put(thing("gpu:fresh"))
        server.serve(page)
        page.clock.fast_forward(HANGS_MS)
        expect(row(panel, "fresh")).to_be_visible()
        expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()
        assert panel.get_attribute("data-stale") is None


def test_an_answer_that_comes_after_a_later_one_changes_nothing(page: Page) -> None:
    hanging: list[Route] = []
    server = Server(flights())
    panel = shown(page, server)
    page.unroute_all()
    page.route("**/aiinfra/items*", lambda route: hang(route, hanging))
    until(lambda: page.wait_for_timeout(50) or hanging)
    server.put(thing("gpu:fresh"))
    server.serve(page)
    look(page)
    expect(row(panel, "fresh")).to_be_visible()
    with contextlib.suppress(Error):  # nobody waits for it any more
        hanging[0].fulfill(json={"rev": server.rev - 1, "now": time.time(), "items": [], **server.answer})
    looked(page, server)
    expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()
    expect(panel.get_by_role("status")).to_contain_text("11 live")


def hang(route: Route, hanging: list[Route]) -> None:
    """Never answer."""
    hanging.append(route)


# ---- what came of an act ----


def promote(page: Page, panel: Locator) -> None:
    opener(panel, "delay").press("Enter")
    panel.get_by_role("button", name="Promote canary…").press("Enter")
    page.wait_for_timeout(ARMED_MS)
    panel.get_by_role("button", name="Promote canary", exact=True).press("Enter")
    expect(panel.get_by_role("alertdialog")).to_have_count(0)


NOT_FOUND = {"status": 404, "json": {"error": "NotFound", "what": "there is no such job", "fix": "list them"}}
BAD_GATEWAY = {"status": 502, "body": "<h1>Bad Gateway</h1>", "content_type": "text/html"}


def test_a_promotion_is_asked_about_until_its_outcome_is_known(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    answers = [{"json": {"state": "running", "error": None}}, BAD_GATEWAY, LOGIN, BAD_GATEWAY]
    page.route("**/aiinfra/jobs/*", lambda route: route.fulfill(**answers.pop(0)) if answers else route.fallback())
    promote(page, panel)
    expect(row(panel, "delay")).to_contain_text("◐ Promote canary: under way")
    expect(panel.get_by_role("button", name="Promote canary…")).to_have_count(0)  # it is begun once
    expect(row(panel, "delay")).to_contain_text("Promote canary: not known yet whether it was done; asked again")
    expect(panel.get_by_role("button", name="Promote canary…")).to_be_visible()
    assert answers == []
    expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()
    assert server.called == [("deploy/promote", "delay")]


@pytest.mark.parametrize("answer", [BAD_GATEWAY, LOGIN])
def test_a_promotion_whose_answer_was_lost_is_asked_about_and_not_repeated(page: Page, answer: dict[str, Any]) -> None:
    sent: list[dict[str, Any]] = []
    asked: list[str] = []
    panel = shown(page, Server(flights()))

    def lose(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or ""))
        route.fulfill(**answer)

    def tell(route: Route) -> None:
        asked.append(route.request.url)
        failed = {"state": "failed", "error": {"what": "it was not found good", "fix": "check it"}}
        route.fulfill(**NOT_FOUND if len(asked) == 1 else {"json": failed})

    page.route("**/aiinfra/deploy/promote*", lose)
    page.route("**/aiinfra/jobs/*", tell)
    promote(page, panel)
    expect(panel.get_by_role("alert")).to_contain_text("Promote canary: not done.it was not found good")
    assert len(sent) == 1
    assert [f"jobs/lab:call-deploy-promote.{sent[0]['id']}" in url for url in asked] == [True, True]


def test_a_promotion_that_never_arrived_is_not_done(lab: Lab) -> None:
    with lab.page(height=1100) as page:
        page.clock.install()
        panel = shown(page, Server(flights()))
        page.route("**/aiinfra/deploy/promote*", lambda route: route.abort())
        page.route("**/aiinfra/jobs/*", lambda route: route.fulfill(**NOT_FOUND))
        promote(page, panel)
        expect(row(panel, "delay")).to_contain_text("not known yet whether it was done")
        page.clock.fast_forward(61_000)
        expect(panel.get_by_role("alert")).to_contain_text("Promote canary: not done.The server does not answer.")


def test_an_outcome_that_nobody_knows_is_called_unknown(page: Page) -> None:
    panel = shown(page, Server(flights()))
    page.route("**/aiinfra/jobs/*", lambda route: route.fulfill(**NOT_FOUND))
    promote(page, panel)
    alert = panel.get_by_role("alert")
    expect(alert).to_contain_text("Promote canary: not known whether it was done.there is no such job")
    expect(alert).to_contain_text("Fix: list them")
    assert faults(page, "#aiinfra-lab-panel") == []


def test_a_stop_that_arrived_although_its_answer_was_lost_is_no_trouble(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    sent: list[str] = []

    def lose(route: Route) -> None:
        sent.append(route.request.url)
        server.put(thing("gpu:notebook-gpu", "stopping", stoppable=False))
        route.fulfill(**BAD_GATEWAY)

    page.route("**/aiinfra/gpu/stop*", lose)
    stopper(panel, "notebook-gpu").press("Enter")
    until(lambda: page.wait_for_timeout(50) or sent)
    looked(page, server)
    expect(panel.get_by_role("button", name="Stopping session notebook-gpu")).to_be_visible()
    expect(row(panel, "notebook-gpu")).not_to_contain_text("not known")
    expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()
    assert len(sent) == 1


@pytest.mark.parametrize("answer", [BAD_GATEWAY, LOGIN])
def test_a_stop_that_did_not_arrive_is_told_and_can_be_pressed_again(page: Page, answer: dict[str, Any]) -> None:
    panel = shown(page, Server(flights()))
    sent: list[str] = []
    page.route("**/aiinfra/gpu/stop*", lambda route: sent.append(route.request.url) or route.fulfill(**answer))
    stopper(panel, "notebook-gpu").press("Enter")
    alert = panel.get_by_role("alert")
    expect(alert).to_contain_text("session notebook-gpu was not stopped.Its answer was lost: The server answered")
    expect(alert).to_contain_text("Fix: press Stop again.")
    expect(stopper(panel, "notebook-gpu")).to_have_attribute("aria-disabled", "false")
    assert len(sent) == 1


def test_stops_that_nobody_answered_are_told_once_the_server_does(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    page.unroute_all()
    page.route("**/aiinfra/**", lambda route: route.abort())
    for name in ("notebook-gpu", "trainer", "rotation@3"):
        stopper(panel, name).press("Enter")
        expect(row(panel, name)).to_contain_text("stopping · not known yet whether the request arrived")
    expect(panel.get_by_role("alert")).to_contain_text("The server does not answer.")
    assert faults(page, "#aiinfra-lab-panel") == []
    server.put(thing("gpu:trainer", "stopped"))
    server.serve(page)
    panel.get_by_role("button", name="Try now").click()
    alert = panel.get_by_role("alert")
    expect(alert).to_contain_text("session notebook-gpu was not stopped.")
    expect(alert).to_contain_text("training run rotation@3 was not stopped.")
    expect(alert).not_to_contain_text("trainer")
    assert faults(page, "#aiinfra-lab-panel") == []
    assert server.called == []


def test_a_stop_that_hangs_is_asked_about(lab: Lab) -> None:
    hanging: list[Route] = []
    with lab.page(height=1100) as page:
        page.clock.install()
        panel = shown(page, Server(flights()))
        page.route("**/aiinfra/gpu/stop*", lambda route: hang(route, hanging))
        stopper(panel, "notebook-gpu").press("Enter")
        expect(panel.get_by_role("button", name="Stopping session notebook-gpu")).to_be_visible()
        page.clock.fast_forward(36_000)
        alert = panel.get_by_role("alert")
        expect(alert).to_contain_text(
            "session notebook-gpu was not stopped.Its answer was lost: The server does not answer"
        )
        expect(stopper(panel, "notebook-gpu")).to_have_attribute("aria-disabled", "false")
        assert len(hanging) == 1
